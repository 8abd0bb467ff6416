// The table beside the chart: legend, pick list and ranking.

const ROW_ROOM = 60; // pixels beside the bar, for the number

/** The bound in whose column most of the middle can be told apart. */
function chooseBound() {
  if (bounds().includes(state.bound)) return;
  const middle = (i) => {
    const shares = meta.contestants.map((p) => smallestCache(p, i).share).map((share) => (isMissing(share) ? 1 : share));
    shares.sort((a, b) => a - b);
    return Math.abs(Math.log((shares[shares.length >> 1] || 1) / 0.3));
  };
  const places = [...bounds().keys()].sort((i, j) => middle(i) - middle(j));
  state.bound = places.length ? bounds()[places[0]] : null;
}

const boundPlace = () => bounds().indexOf(state.bound);

function sortKey(policy) {
  if (state.sort === "area") return area(policy);
  if (state.sort === "value") return loss(policy);
  const { share } = smallestCache(policy, boundPlace());
  return isMissing(share) ? Infinity : share;
}

/** Contestants in the order of a column; those that it has nothing of are not ranked. */
function rankedBy(key) {
  const has = (p) => !isMissing(loss(p)) && Number.isFinite(key(p));
  return meta.contestants.filter(has).sort((p, q) => key(p) - key(q));
}

/** Who needs least cache for the bound. */
function boundFact() {
  if (!bounds().length) return "";
  const share = (p) => smallestCache(p, boundPlace()).share;
  const able = meta.contestants.filter((p) => !isMissing(share(p))).sort((p, q) => share(p) - share(q));
  const name = `For ${lossName(metricOf(state.metric))} ≤ ${tickText(state.bound)}`;
  if (!able.length) return `${name} no policy is good enough at the budgets here.`;
  const [best] = able;
  const { isLeast } = smallestCache(best, boundPlace());
  return `${name} ${nameOf(best)} needs least cache, ${isLeast ? "at most " : ""}${percent(share(best))}.`;
}

function sortButton(kind, text, title) {
  const isChosen = state.sort === kind;
  const choose = () => {
    state.sort = kind;
    renderRanking();
    byId("ranking").querySelector(`[data-sort=${kind}]`).focus();
  };
  return html("button", { type: "button", "data-sort": kind, title, onclick: choose }, `${text}${isChosen ? " ▲" : ""}`);
}

function boundSelect() {
  const choose = (event) => {
    state.bound = Number(event.target.value);
    renderRanking();
    byId("bound").focus();
  };
  return html(
    "select",
    { id: "bound", "aria-label": "bound of the loss", onchange: choose },
    bounds().map((bound) => html("option", { value: bound, selected: bound === state.bound }, tickText(bound))),
  );
}

function rankingHead() {
  const column = (kind, ...content) => html("th", { "aria-sort": state.sort === kind ? "ascending" : null }, ...content);
  const hasBounds = bounds().length > 0;
  return html(
    "thead",
    {},
    html(
      "tr",
      {},
      html("th", {}, html("span", { class: "hidden" }, "rank")),
      html("th", {}, "policy"),
      column("value", sortButton("value", `at ${budgetText()}`)),
      column("area", sortButton("area", "mean", "over the curve: its mean height, as `compare` ranks")),
      hasBounds
        ? column("cache", sortButton("cache", "cache for ≤", "smallest cache that loses at most this"), boundSelect())
        : html("th", {}, "cache"),
    ),
  );
}

/** Dot on a log axis, with its interval. */
function valueBar(policy, place) {
  const value = loss(policy);
  const range = interval(policy, state.budget);
  const percentOf = (x) => `calc(4px + (100% - ${ROW_ROOM}px)*${place(x).toFixed(3)})`;
  const colour = colourOf(policy) ?? (isContestant.has(policy) ? null : "var(--ink)");
  return html(
    "div",
    { class: "bar" },
    range
      ? html("u", {
          style: `left:${percentOf(range[0])};width:calc((100% - ${ROW_ROOM}px)*${(place(range[1]) - place(range[0])).toFixed(3)})`,
        })
      : null,
    html("i", { style: `left:${percentOf(value)}${colour ? `;background:${colour}` : ""}` }),
    html(
      "b",
      {},
      isTied(policy) && ranked()[0] !== policy
        ? html("span", { title: "cannot be told from the best over these samples" }, "≈ ")
        : null,
      formatted(value),
    ),
  );
}

function cacheCell(policy) {
  if (!bounds().length) return NOTHING;
  const { share, isLeast } = smallestCache(policy, boundPlace());
  if (isMissing(share)) return html("span", { class: "faint" }, "never");
  return [
    html("span", { class: "mini" }, html("i", { style: `width:${(share * 100).toFixed(1)}%` })),
    `${isLeast ? "≤" : ""}${percent(share)}`,
  ];
}

function rankingRow(policy, rank, place) {
  const { name, parameters } = meta.policies[policy];
  const isPinned = state.pins.includes(policy);
  const colour = colourOf(policy);
  const toggle = () => togglePin(policy);
  return html(
    "tr",
    {
      "data-policy": policy,
      class: `${isContestant.has(policy) ? "" : "aside "}${isPinned ? "pinned" : ""}`,
      onclick: toggle,
      onmouseenter: () => lightUp(policy),
      onmouseleave: () => lightUp(-1),
    },
    html("td", { class: "rank" }, rank >= 0 ? String(rank + 1) : ""),
    html(
      "td",
      { class: "name", title: `${name}: ${parameters}` },
      html(
        "button",
        { type: "button", "aria-pressed": String(isPinned) },
        html("span", { class: "swatch", style: colour ? `background:${colour};border-color:${colour}` : null }),
        name,
      ),
      keepsOther(policy) ? html("span", { class: "alarm", title: `really keeps ${percent(kept(policy, state.budget))}` }, " !") : null,
    ),
    html("td", {}, valueBar(policy, place)),
    html("td", {}, formatted(area(policy))),
    html("td", {}, cacheCell(policy)),
  );
}

function renderRanking() {
  chooseBound();
  const order = rankedBy(sortKey);
  const rows = [...meta.contestants, ...references]
    .filter((p) => isFound(p) && !isMissing(loss(p)))
    .sort((p, q) => sortKey(p) - sortKey(q));
  const values = rows.map((p) => loss(p));
  const [low, high] = [Math.min(...values.filter((value) => value > 0)), Math.max(...values)];
  const place = (value) => {
    if (!(value > 0)) return 0;
    return low < high ? Math.max(0, Math.min(1, Math.log(value / low) / Math.log(high / low))) : 1;
  };
  byId("bound-facts").textContent = boundFact();
  const columns = ["rank", "name", "value", "area", "cache"];
  byId("ranking").replaceChildren(
    html("caption", { class: "hidden" }, `Ranking by ${lossName(metricOf(state.metric))}`),
    html("colgroup", {}, columns.map((column) => html("col", { class: column }))),
    rankingHead(),
    html(
      "tbody",
      {},
      rows.length
        ? rows.map((p) => rankingRow(p, order.indexOf(p), place))
        : html("tr", {}, html("td", {}), html("td", { colspan: 4 }, "No policy matches.")),
    ),
  );
}

/** The table as it stands, for a spreadsheet; cells that a spreadsheet would compute are quoted as text. */
function rankingCsv() {
  const metric = metricOf(state.metric);
  const cell = (value) => {
    const text = typeof value === "number" ? (isMissing(value) ? "" : String(value)) : value;
    const safe = /^[=+\-@\t\r]/.test(text) && typeof value !== "number" ? `'${text}` : text;
    return /[",\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  const order = rankedBy(sortKey);
  const rows = [...meta.contestants, ...references].filter(isFound).sort((p, q) => sortKey(p) - sortKey(q));
  const lines = [
    ["rank", "policy", `${lossName(metric)} at ${budgetText()}`, "mean", `smallest cache for ${state.bound}`, "parameters"],
    ...rows.map((p) => [
      order.includes(p) ? order.indexOf(p) + 1 : "",
      nameOf(p),
      loss(p),
      area(p),
      bounds().length ? smallestCache(p, boundPlace()).share : NaN,
      meta.policies[p].parameters,
    ]),
  ];
  return lines.map((cells) => cells.map(cell).join(",")).join("\n");
}
