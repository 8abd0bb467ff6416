// View 5: whether a cheap measure orders the policies as the loss does.

// Colours are the policies': the best is inked, the others differ by their dashes.
const surrogateColour = (k) => (k === 0 ? "var(--ink)" : "var(--muted)");
const SURROGATE_DASHES = [null, "6 3", "2 3", "8 3 2 3", "12 3", "1 4"];

const surrogateLabel = (name) => {
  const deviation = name.startsWith("deviation of ");
  const metric = metricOf(deviation ? name.slice("deviation of ".length) : name);
  return metric ? (deviation ? `Deviation of ${lowered(metric.label)}` : metric.label) : name;
};

/** What a surrogate says of the loss of a policy: smaller should be better. */
function surrogateLoss(name, policy) {
  const deviation = name.startsWith("deviation of ");
  const key = deviation ? name.slice("deviation of ".length) : name;
  const value = curve(key, policy, state.budget, { layer: 0 });
  return deviation ? Math.abs(1 - value) : asLoss(key, value);
}

const taus = (agreement) => agreement.tau[state.point];
const meanTau = (agreement) => {
  const known = taus(agreement).filter((tau) => !isMissing(tau));
  return known.reduce((sum, tau) => sum + tau, 0) / known.length;
};

/** What a tau is good for. */
const worthOf = (tau) =>
  tau >= 0.8 ? "it may stand in for the loss" : tau >= 0.4 ? "a first sieve, not a ranking" : "nothing here may stand in for the loss";

function agreementByBudget(list) {
  const [width, height] = [640, 420];
  const margin = { left: 40, right: 262, top: 12, bottom: 30 };
  const [right, floor] = [width - margin.right, height - margin.bottom];
  const low = Math.min(-0.2, ...list.flatMap(taus).filter((tau) => !isMissing(tau)));
  const x = linearScale(0, nBudgets - 1, margin.left, right);
  const y = linearScale(low, 1, floor, margin.top);
  const drawing = picture(width, height, "rank agreement by budget");
  for (const tick of linearTicks(low, 1, 5))
    drawing.append(
      svg("line", { x1: margin.left, x2: right, y1: y(tick), y2: y(tick), class: tick === 0 ? "zero" : "grid" }),
      label(margin.left - 6, y(tick) + 4, Number(tick.toFixed(2)), { "text-anchor": "end" }),
    );
  drawing.append(label(margin.left + 4, y(0) - 5, "chance", { class: "small" }));
  for (const place of new Set([0, Math.round(nBudgets / 3), Math.round((2 * nBudgets) / 3), nBudgets - 1]))
    if (place < nBudgets)
      drawing.append(label(x(place), height - 10, budgetText(SMALLEST_FIRST[place]), { "text-anchor": "middle" }));
  const at = x(SMALLEST_FIRST.indexOf(state.budget));
  drawing.append(svg("line", { x1: at, x2: at, y1: margin.top, y2: floor, class: "budget" }));
  const ends = list.flatMap((agreement, k) => {
    const points = SMALLEST_FIRST.map((b, place) => {
      const tau = taus(agreement)[b];
      return isMissing(tau) ? null : [x(place), y(tau)];
    });
    drawing.append(
      svg("path", {
        d: pathThrough(points),
        class: "line",
        stroke: surrogateColour(k),
        "stroke-dasharray": SURROGATE_DASHES[k % SURROGATE_DASHES.length],
      }),
    );
    const end = points.filter(Boolean).at(-1);
    if (end && nBudgets === 1) drawing.append(svg("circle", { cx: end[0], cy: end[1], r: 4, fill: surrogateColour(k) }));
    return end ? [{ text: surrogateLabel(agreement.surrogate), colour: surrogateColour(k), wanted: end[1] }] : [];
  });
  for (const { text, colour, y: top } of spread(ends, LABEL_GAP, floor))
    drawing.append(label(right + 8, top + 4, shortened(text, 33), { class: "lab", style: `fill:${colour}` }));
  return panel("Agreement by budget", "", drawing);
}

/** Every contestant: the surrogate against the truth at the chosen budget. */
function scatter(agreement, k) {
  const [width, height] = [290, 186];
  const name = surrogateLabel(agreement.surrogate);
  const truth = metricOf(state.truth);
  const points = meta.contestants
    .map((p) => ({ p, x: surrogateLoss(agreement.surrogate, p), y: lossOf(state.truth, p, state.budget, { layer: 0 }) }))
    .filter(({ x, y }) => x > 0 && y > 0);
  const drawing = picture(width, height, `${name} against ${truth.label}`);
  const left = 56;
  if (points.length > 1) {
    const range = (of) => [Math.min(...points.map(of)) * 0.93, Math.max(...points.map(of)) * 1.07];
    const [xs, ys] = [range(({ x }) => x), range(({ y }) => y)];
    const x = logScale(...xs, left, width - 8);
    const y = logScale(...ys, height - 34, 8);
    drawing.append(
      svg("rect", { x: left, y: 8, width: width - left - 8, height: height - 42, class: "box" }),
      label(left, height - 20, formatted(xs[0] / 0.93), { class: "small" }),
      label(width - 8, height - 20, formatted(xs[1] / 1.07), { class: "small", "text-anchor": "end" }),
      label(left - 4, height - 34, formatted(ys[0] / 0.93), { class: "small", "text-anchor": "end" }),
      label(left - 4, 17, formatted(ys[1] / 1.07), { class: "small", "text-anchor": "end" }),
      label(left, height - 5, `${agreement.surrogate.startsWith("deviation") ? "" : "1 − "}${lowered(name)} →`, { class: "small" }),
    );
    points.sort((a, b) => (colourOf(a.p) ? 1 : 0) - (colourOf(b.p) ? 1 : 0));
    for (const point of points) {
      const colour = colourOf(point.p);
      drawing.append(
        svg("circle", {
          cx: x(point.x),
          cy: y(point.y),
          r: colour ? 5 : 3.4,
          fill: colour ?? "var(--grey)",
          stroke: "var(--page)",
          onpointermove: (event) =>
            showTip(
              event,
              strong(nameOf(point.p)),
              line(),
              `${lowered(name)} ${formatted(point.x)}`,
              line(),
              `${lossName(truth)} ${formatted(point.y)}`,
            ),
          onpointerleave: hideTip,
        }),
      );
    }
  } else drawing.append(label(left, 17, "fewer than two policies have both", { class: "small" }));
  const tau = taus(agreement)[state.budget];
  const title = html("span", { style: `color:${surrogateColour(k)}` }, name);
  const few = points.length < meta.contestants.length ? `, ${points.length} of ${meta.contestants.length} policies` : "";
  return panel(title, `τ = ${isMissing(tau) ? NOTHING : tau.toFixed(2)} at ${budgetText()}${few}`, drawing);
}

function renderSurrogates() {
  const box = byId("agreement");
  const list = meta.agreement.filter((each) => each.truth === state.truth && taus(each).some((tau) => !isMissing(tau)));
  byId("surrogate-facts").replaceChildren();
  if (meta.contestants.length < 3) {
    box.replaceChildren(html("p", { class: "facts" }, "Rank agreement needs three policies or more."));
    return;
  }
  if (!list.length) {
    box.replaceChildren(html("p", { class: "facts" }, "No surrogates were measured."));
    return;
  }
  list.sort((a, b) => meanTau(b) - meanTau(a));
  const [best, worst] = [list[0], list.at(-1)];
  const samples = meta.samples.length > 1 ? ", mean over samples" : "";
  byId("surrogate-facts").append(
    `Kendall's τ between the order that a measure gives to the ${meta.contestants.length} competing policies and the ` +
      `order by ${lossName(metricOf(state.truth))}, at equal budget${samples}: 1 is the same order, 0 is chance. Here `,
    strong(lowered(surrogateLabel(best.surrogate))),
    ` agrees best (mean τ ${meanTau(best).toFixed(2)})` +
      (list.length > 1 ? `, ${lowered(surrogateLabel(worst.surrogate))} least (${meanTau(worst).toFixed(2)})` : "") +
      `: ${worthOf(meanTau(best))}.`,
  );
  box.replaceChildren(agreementByBudget(list), html("div", { class: "scatters" }, list.map(scatter)));
}
