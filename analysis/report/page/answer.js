// View 1: who wins where people ask, in a sentence and four cards.

const ASKED = [0.05, 0.1, 0.25, 0.5];

/** The budgets of the cards: those nearest to what people ask for, or spread ones. */
function cardBudgets() {
  const asked = [...new Set(ASKED.map(nearestBudget))];
  if (nBudgets < 3 || (meta.budgets.kind !== "tokens" && asked.length === ASKED.length)) return asked;
  const spreadOut = [0, 1, 2, 3].map((k) => SMALLEST_FIRST[Math.round((k * (nBudgets - 1)) / 3)]);
  return [...new Set(spreadOut)].filter((b) => meta.budgets.kind === "tokens" || meta.budgets.values[b] !== 1);
}

function headline(order) {
  const [winner, next] = order;
  const share = meta.budgets.kind === "tokens" ? budgetText() : `${budgetText()} of the cache`;
  const name = html("span", { style: `color:${colourOf(winner) ?? "inherit"}` }, nameOf(winner));
  if (meta.contestants.length < 2) return [name, ` at ${share}: ${lossName(metricOf(state.metric))} ${formatted(loss(winner))}`];
  const ties = order.slice(1).filter((p) => isTied(p)).length;
  const isClose = loss(winner) > 0 && loss(next) / loss(winner) < 1.02;
  const clause = ties
    ? `, with ${counted(ties, "other")} that cannot be told from it`
    : isClose
      ? `, on a par with ${nameOf(next)}`
      : "";
  return [`Keeping ${share}, `, name, ` loses least${clause}`];
}

function facts() {
  const metric = metricOf(state.metric);
  const layers = state.layer
    ? `layer ${meta.layers[state.layer - 1]}`
    : nLayers === meta.model.n_layers
      ? `all ${counted(nLayers, "layer")}`
      : `${nLayers} of ${meta.model.n_layers ?? "?"} layers`;
  const samples = meta.samples.length === 1 ? "one sample" : `${meta.samples.length} samples`;
  const best = meta.contestants.filter((p) => !isMissing(area(p))).sort((p, q) => area(p) - area(q));
  const bestText = best.slice(0, 3).map((p) => `${nameOf(p)} (${formatted(area(p))})`).join(", ");
  const runs = leaders();
  const range = ({ from, to }) =>
    from === to
      ? budgetText(SMALLEST_FIRST[from])
      : `${budgetText(SMALLEST_FIRST[from]).replace(" %", "")}–${budgetText(SMALLEST_FIRST[to])}`;
  return [
    "Measured by ",
    strong(lossName(metric)),
    ` (${layers}, compression point “${meta.points[state.point].name}”, ${samples}). `,
    best.length > 1 ? `Over the whole curve the best are ${bestText}. ` : "",
    runs.length > 1 && runs.length < 7
      ? `Leader by share kept: ${runs.map((run) => `${nameOf(run.policy)} ${range(run)}`).join(", ")}. `
      : "",
    spanFact(ranked()[0]),
    otherPoints(),
  ];
}

/** What the winner keeps of the needle, beside who keeps most of it: least loss is not the same. */
function spanFact(winner) {
  const key = spanKeys().find((each) => metricOf(each).part.includes("needle")) ?? spanKeys()[0];
  if (!key || winner === undefined) return "";
  const share = (p) => curve(key, p, state.budget, { layer: 0 });
  const most = meta.contestants.reduce((best, p) => (share(p) > share(best) ? p : best), winner);
  const chance = random >= 0 && share(winner) < share(random) ? `, less than random keeps (${percent(share(random))})` : "";
  const beside = most === winner ? "" : `; ${nameOf(most)} keeps most, ${percent(share(most))}`;
  return `Of the ${metricOf(key).part} it keeps ${percent(share(winner))}${chance}${beside}. `;
}

/** Points are different tasks: another one may have another leader. */
function otherPoints() {
  const leaderAt = (point) => {
    const known = meta.contestants.filter((p) => !isMissing(lossOf(state.metric, p, state.budget, { point })));
    const lossThere = (p) => lossOf(state.metric, p, state.budget, { point });
    return known.reduce((best, p) => (best === undefined || lossThere(p) < lossThere(best) ? p : best), undefined);
  };
  const winner = ranked()[0];
  return meta.points
    .map((point, i) => ({ name: point.name, leader: i === state.point ? winner : leaderAt(i) }))
    .filter(({ leader }) => leader !== undefined && leader !== winner)
    .map(({ name, leader }) => `At point “${name}” ${nameOf(leader)} leads. `)
    .join("");
}

/** The lines to measure by, in words. */
function referenceKey() {
  const parts = [
    oracle >= 0 && "oracle: chooses by the attention of the queries to come; a line to measure by, not a policy",
    random >= 0 && "random: keeps tokens by lot",
    hasTies() && "≈: these samples cannot tell it from the best",
  ].filter(Boolean);
  return parts.join(" · ");
}

const hasTies = () => ranked().slice(1).some((p) => isTied(p));

/** Marked spans, but for the one that is nearly everything. */
const spanKeys = () =>
  meta.metrics.filter(({ metric, part }) => metric === "needle_recall" && part !== "context").map(({ key }) => key);

/** A tick for every contestant, a diamond for the oracle, a dot for the winner. */
function strip(order, budget) {
  const [width, height] = [290, 36];
  const winner = order[0];
  const values = order.map((p) => loss(p, budget)).filter((value) => value > 0);
  const [best, worst] = [oracle, random].map((p) => (p >= 0 ? loss(p, budget) : NaN));
  const low = Math.min(...values, best > 0 ? best : Infinity);
  const high = Math.max(...values, worst > 0 ? worst : 0);
  if (!values.length || !(high > low)) return null;
  const x = logScale(low, high, 8, width - 8);
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
  drawing.append(svg("line", { x1: 8, x2: width - 8, y1: 12, y2: 12, class: "grid" }));
  for (const p of order.filter((each) => loss(each, budget) > 0)) {
    const at = x(loss(p, budget));
    const colour = colourOf(p);
    drawing.append(
      svg("line", { x1: at, x2: at, y1: 6, y2: 18, stroke: colour ?? "var(--grey)", "stroke-width": colour ? 2 : 1 }),
    );
  }
  const winnersPlace = x(Math.max(loss(winner, budget), low));
  drawing.append(svg("circle", { cx: winnersPlace, cy: 12, r: 5, fill: colourOf(winner) ?? "var(--ink)" }));
  const isApart = !(best > 0 && worst > 0) || Math.abs(x(best) - x(worst)) > 90;
  if (best > 0)
    drawing.append(
      svg("path", { d: `M${x(best)} 5l4 7l-4 7l-4-7z`, fill: "var(--ink)" }),
      label(x(best), 32, "oracle", { "text-anchor": x(best) < 30 ? "start" : "middle", class: "small" }),
    );
  if (worst > 0 && isApart)
    drawing.append(label(x(worst), 32, "random", { "text-anchor": x(worst) > width - 30 ? "end" : "middle", class: "small" }));
  return drawing;
}

function card(budget) {
  const order = ranked(budget);
  const winner = order[0];
  if (winner === undefined) return null;
  const metric = metricOf(state.metric);
  const value = loss(winner, budget);
  const parts = [];
  // Of what the oracle does not optimise it may lose more than others.
  if (oracle >= 0 && loss(oracle, budget) > 0 && value >= loss(oracle, budget))
    parts.push(`${times(value / loss(oracle, budget))} the oracle's`);
  if (random >= 0 && loss(random, budget) > 0) {
    const share = value / loss(random, budget);
    parts.push(share < 1 ? `${percent(share)} of random's` : "no better than random");
  }
  const unit = metric.unit !== "1" && metric.unit.length < 8 ? ` ${metric.unit}` : "";
  return html(
    "button",
    {
      class: "card",
      type: "button",
      "aria-pressed": String(budget === state.budget),
      onclick: () => {
        state.budget = budget;
        render();
      },
    },
    html("span", { class: "keep" }, `keep ${budgetText(budget)}`),
    html("span", { class: "winner" }, nameOf(winner)),
    html("span", { class: "value" }, strong(formatted(value)), `${unit}${parts.map((part) => `, ${part}`).join("")}`),
    strip(order, budget),
  );
}

function warnings() {
  const texts = [];
  if (meta.samples.length === 1)
    texts.push("One sample: another prompt may order the policies otherwise, and there are no intervals.");
  if (meta.model.n_layers > nLayers)
    texts.push(`${nLayers} of the model's ${meta.model.n_layers} layers were replayed; what the others lose is not in it.`);
  if (!meta.headline.includes("predicted_kl"))
    texts.push(`${capitalised(meta.headline_why)}. Recorded with --sensitivity 16, a trace has the model's predicted KL.`);
  const limit = predictionLimit();
  const above = ranked().filter((p) => loss(p) > limit).length;
  if (above)
    texts.push(
      `${above} of ${ranked().length} policies are above ${formatted(limit)} nats here, the most that a recorded pass ` +
        "lost: their order can be told, their amount not.",
    );
  const missing = meta.left_out.length;
  if (missing) texts.push(`${counted(missing, "policy or metric", "policies and metrics")} left out: see Origin.`);
  return texts;
}

function renderAnswer() {
  const order = ranked();
  const texts = warnings();
  byId("h-answer").replaceChildren(...(order.length ? headline(order) : ["Nothing to rank here"]));
  byId("facts").replaceChildren(...(order.length ? facts().filter((part) => part !== "") : []));
  byId("cards").replaceChildren(...cardBudgets().map(card).filter(Boolean));
  byId("references").textContent = referenceKey();
  byId("caveats").replaceChildren(
    ...(texts.length ? [html("div", { class: "warn" }, html("ul", {}, texts.map((text) => html("li", {}, text))))] : []),
  );
}
