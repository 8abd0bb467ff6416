// View 2: the loss against what is kept, and who leads at which budget.

const NARROW = 620; // pixels of the chart: below it labels go into a legend
const LABEL_GAP = 15;
const LABEL_MARGIN = 30; // pixels beside the names at the ends of lines
const LETTER = 7.8; // pixels of a bold letter, of the widest system fonts
const GRAB = 9; // pixels on both sides of the budget's line

/** What the pointer's handlers and the ranking need of the chart that is drawn. */
let chart = null;

const chartX = (policy, budget) => curve(state.x, policy, budget);

/** Contestants and oracles that are found, and those in colour. */
const shownPolicies = () => [...meta.contestants, ...references].filter((p) => isFound(p) || state.pins.includes(p));

function chartRange(shown) {
  const points = shown
    .flatMap((p) => SMALLEST_FIRST.map((b) => [chartX(p, b), loss(p, b)]))
    .filter(([x, y]) => x > 0 && Number.isFinite(y));
  if (!points.length) return null;
  const xs = points.map(([x]) => x);
  const ys = points.map(([, y]) => y);
  const positive = ys.filter((y) => y > 0);
  const isLogY = state.logY && positive.length > 1;
  const top = Math.max(...ys);
  // Policies that keep less than was asked for must not squeeze the others to the right.
  const cut = state.x === "kept_fraction" && meta.budgets.kind !== "tokens" ? Math.min(...meta.budgets.values) * 0.9 : 0;
  return {
    x: [state.logX ? Math.max(cut, Math.min(...xs) * 0.96) : 0, Math.max(...xs) * (nBudgets === 1 ? 1.8 : 1)],
    y: isLogY
      ? [Math.max(Math.min(...positive) * 0.9, top * 1e-6), top * 1.12]
      : [Math.min(0, ...ys), Math.max(top, 0) * 1.03 || 1],
    isLogY,
  };
}

function chartFrame(range, width) {
  const isNarrow = width < NARROW;
  const height = isNarrow ? 400 : 520;
  const named = [...state.pins, ...references, ranked()[0] ?? 0];
  const longest = Math.max(8, ...named.map((p) => nameOf(p).length));
  const margin = {
    left: 54,
    right: isNarrow ? 26 : Math.min(260, Math.max(104, LABEL_MARGIN + longest * LETTER)),
    top: 22,
    bottom: 42,
  };
  const [right, floor] = [width - margin.right, height - margin.bottom];
  const x = (state.logX ? logScale : linearScale)(...range.x, margin.left, right);
  const rawY = (range.isLogY ? logScale : linearScale)(...range.y, floor, margin.top);
  const y = (value) => {
    if (isMissing(value) || (range.isLogY && value <= 0)) return NaN;
    return range.isLogY ? Math.max(margin.top, Math.min(floor, rawY(Math.max(value, range.y[0])))) : rawY(value);
  };
  return { width, height, margin, right, floor, x, y, isNarrow, range };
}

/** The points of a policy's line, null where there is none. */
const linePoints = (frame, policy) =>
  SMALLEST_FIRST.map((b) => {
    const [x, y] = [chartX(policy, b), frame.y(loss(policy, b))];
    return x > 0 && !Number.isNaN(y) ? [frame.x(x), y] : null;
  });

function chartAxes(frame) {
  const { x, y, margin, right, floor, range } = frame;
  const parts = [];
  const metric = metricOf(state.metric);
  for (const tick of range.isLogY ? logTicks(...range.y) : linearTicks(...range.y, 6))
    parts.push(
      svg("line", { x1: margin.left, x2: right, y1: y(tick), y2: y(tick), class: "grid" }),
      label(margin.left - 8, y(tick) + 4, tickText(tick), { "text-anchor": "end" }),
    );
  const isKept = state.x === "kept_fraction";
  const inRange = (tick) => tick >= range.x[0] && tick <= range.x[1];
  const ticks = isKept
    ? state.logX
      ? [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1].filter(inRange)
      : linearTicks(0, 1, 5)
    : state.logX
      ? [...Array(50).keys()].map((i) => 2 ** i).filter(inRange)
      : linearTicks(...range.x, 6);
  for (const tick of ticks)
    parts.push(
      svg("line", { x1: x(tick), x2: x(tick), y1: margin.top, y2: floor, class: "grid" }),
      label(x(tick), floor + 17, isKept ? tickPercent(tick) : bytesText(tick), { "text-anchor": "middle" }),
    );
  const where = state.layer ? "in this layer" : "in the replayed layers";
  const xName = isKept ? "share of the cache that is really kept" : `${lowered(metricOf(state.x).label)} kept ${where}`;
  const unit = metric.unit !== "1" && !frame.isNarrow ? `, ${metric.unit}` : "";
  const layer = state.layer && !metric.of_model ? `, layer ${meta.layers[state.layer - 1]}` : "";
  parts.push(
    label(margin.left, frame.height - 6, `${xName} →`),
    label(margin.left - 46, 11, `↑ ${lossName(metric)}${unit}${layer}`),
  );
  return parts;
}

function extrapolatedZone(frame) {
  const limit = predictionLimit();
  const { range, margin, right } = frame;
  if (!(limit < range.y[1] && limit > range.y[0])) return [];
  return [
    svg("rect", {
      x: margin.left,
      y: margin.top,
      width: right - margin.left,
      height: frame.y(limit) - margin.top,
      fill: "url(#hatch)",
    }),
    label(right - 6, margin.top + 15, `hatched, above ${formatted(limit)} nats: extrapolated`, {
      "text-anchor": "end",
      class: "lab",
    }),
  ];
}

/** 95 % over samples. */
function band(frame, policy) {
  const ends = SMALLEST_FIRST.map((b) => ({ x: chartX(policy, b), range: interval(policy, b) })).filter(
    ({ x, range }) => x > 0 && range && frame.y(range[1]) >= 0,
  );
  if (!ends.length) return null;
  const low = (value) => (Number.isNaN(frame.y(value)) ? frame.floor : frame.y(value));
  const upper = ends.map(({ x, range }) => [frame.x(x), frame.y(range[1])]);
  const lower = ends.map(({ x, range }) => [frame.x(x), low(range[0])]).reverse();
  return svg("path", { d: `${pathThrough([...upper, ...lower])}Z`, fill: colourOf(policy), opacity: 0.13 });
}

/** Every line, least important first: {policy, attributes, colour of its label or null}. */
function chartLines(shown) {
  const isPinned = (p) => state.pins.includes(p);
  const lines = [];
  for (const policy of meta.contestants.filter((p) => shown.includes(p) && !isPinned(p) && p !== random))
    lines.push({ policy, attributes: { class: "context" }, colour: null });
  if (random >= 0 && shown.includes(random) && !isPinned(random))
    lines.push({ policy: random, attributes: { class: "reference", "stroke-dasharray": "2 4" }, colour: "var(--muted)" });
  for (const policy of references.filter((p) => shown.includes(p) && !isPinned(p))) {
    const attributes = policy === oracle ? {} : { "stroke-dasharray": "7 3", opacity: 0.6 };
    lines.push({ policy, attributes: { class: "reference", ...attributes }, colour: "var(--ink)" });
  }
  const [best] = ranked();
  if (best !== undefined && !isPinned(best) && best !== random)
    lines.push({ policy: best, attributes: { class: "pinned", stroke: "var(--muted)" }, colour: "var(--muted)" });
  for (const policy of state.pins)
    lines.push({ policy, attributes: { class: "pinned", stroke: colourOf(policy) }, colour: colourOf(policy) });
  return lines;
}

/** Names at the ends of the lines, moved apart. */
function endLabels(frame, lines) {
  const ends = lines
    .filter((line) => line.colour)
    .flatMap((line) => {
      const points = linePoints(frame, line.policy).filter(Boolean);
      return points.length ? [{ ...line, end: points.at(-1), wanted: points.at(-1)[1] }] : [];
    });
  const left = frame.right + 14;
  const room = Math.round((frame.margin.right - LABEL_MARGIN) / LETTER); // of the longest name there is exactly enough
  return spread(ends, LABEL_GAP, frame.floor + 2).flatMap(({ policy, colour, end, y }) => [
    svg("path", { d: pathThrough([[end[0] + 3, end[1]], [left - 5, y]]), class: "leader", stroke: colour }),
    label(left, y + 4, shortened(nameOf(policy), room), { class: "lab", style: `fill:${colour}` }),
  ]);
}

/** Where the dashed line of a budget stands. */
function budgetX(frame, budget) {
  const isNominal = state.x === "kept_fraction" && meta.budgets.kind !== "tokens";
  const value = isNominal ? meta.budgets.values[budget] : chartX(ranked(budget)[0] ?? meta.contestants[0], budget);
  return frame.x(Math.min(frame.range.x[1], Math.max(frame.range.x[0], value)));
}

function budgetLine(frame) {
  const at = budgetX(frame, state.budget);
  const half = 13 + budgetText().length * 3.4;
  const dots = state.pins
    .map((p) => ({ p, x: frame.x(chartX(p, state.budget)), y: frame.y(loss(p)) }))
    .filter(({ x, y }) => !Number.isNaN(x + y));
  return [
    svg("line", { x1: at, x2: at, y1: frame.margin.top, y2: frame.floor, class: "budget" }),
    svg("rect", { x: at - half, y: frame.floor + 3, width: 2 * half, height: 19, rx: 5, fill: "var(--accent)", class: "handle" }),
    label(at, frame.floor + 17, budgetText(), { "text-anchor": "middle", style: "fill:var(--page);font-weight:600" }),
    ...dots.map(({ p, x, y }) =>
      svg("circle", { cx: x, cy: y, r: 4, fill: colourOf(p), stroke: "var(--page)", "stroke-width": 1.5 }),
    ),
  ];
}

/** With one budget there are no lines. */
const singleDots = (frame, shown) =>
  nBudgets > 1
    ? []
    : shown
        .filter((p) => frame.y(loss(p, 0)) >= 0)
        .map((p) =>
          svg("circle", {
            cx: frame.x(chartX(p, 0)),
            cy: frame.y(loss(p, 0)),
            r: 4,
            fill: colourOf(p) ?? (p === oracle ? "var(--ink)" : "var(--grey)"),
          }),
        );

/** The line within reach of a point, and the budget of it that is nearest. */
function nearestLine(frame, shown, px, py) {
  let best = { policy: -1, budget: state.budget, distance: 14 };
  for (const policy of shown) {
    const points = linePoints(frame, policy);
    for (let i = nBudgets === 1 ? 0 : 1; i < points.length; i++) {
      const from = points[Math.max(0, i - 1)];
      const to = points[i];
      if (!from || !to) continue;
      const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
      const along = ((px - from[0]) * dx + (py - from[1]) * dy) / (dx * dx + dy * dy || 1);
      const share = Math.max(0, Math.min(1, along));
      const distance = Math.hypot(px - from[0] - share * dx, py - from[1] - share * dy) - (state.pins.includes(policy) ? 2 : 0);
      if (distance < best.distance) best = { policy, budget: SMALLEST_FIRST[share < 0.5 ? Math.max(0, i - 1) : i], distance };
    }
  }
  return best;
}

function lineTip(event, policy, budget) {
  const { family, split } = meta.policies[policy];
  const order = ranked(budget);
  const place = order.indexOf(policy);
  const range = interval(policy, budget);
  showTip(
    event,
    strong(nameOf(policy)),
    quiet(` ${family}${split ? `, budgets by ${split}` : ""}`),
    line(),
    `keep ${budgetText(budget)}${keepsOther(policy, budget) ? ` (really ${percent(kept(policy, budget))})` : ""}: `,
    strong(formatted(loss(policy, budget))),
    range ? quiet(` [${range.map(formatted).join(", ")}]`) : "",
    line(),
    quiet(place >= 0 ? `rank ${place + 1} of ${order.length}` : "reference"),
  );
}

/** Lights up one policy in chart and table; -1: none. */
function lightUp(policy) {
  if (chart) {
    chart.lit.setAttribute("d", policy >= 0 ? pathThrough(linePoints(chart.frame, policy)) : "");
    chart.lit.style.stroke = (policy >= 0 && colourOf(policy)) || "var(--ink)";
  }
  for (const row of byId("ranking").querySelectorAll("tbody tr"))
    row.classList.toggle("lit", Number(row.dataset.policy) === policy);
}

/** Handlers stay on the box while drawings in it come and go, so that a drag survives them. */
function listenToChart(box) {
  let isDragged = false;
  const place = (event) => {
    const bounds = box.getBoundingClientRect();
    const scale = chart.frame.width / bounds.width;
    return [(event.clientX - bounds.left) * scale, (event.clientY - bounds.top) * scale];
  };
  const isAtHandle = ([px, py]) => Math.abs(px - budgetX(chart.frame, state.budget)) < GRAB || py > chart.frame.floor;
  box.onpointerdown = (event) => {
    isDragged = Boolean(chart) && isAtHandle(place(event));
    if (!isDragged) return;
    hideTip();
    try {
      box.setPointerCapture(event.pointerId);
    } catch {} // a pointer that is gone
  };
  box.onpointerup = (event) => {
    const wasDragged = isDragged;
    isDragged = false;
    if (wasDragged || !chart) return;
    const { policy } = nearestLine(chart.frame, chart.shown, ...place(event));
    if (policy >= 0) togglePin(policy);
  };
  box.onpointercancel = () => {
    isDragged = false;
  };
  box.onpointermove = (event) => {
    if (!chart) return;
    const [px, py] = place(event);
    if (isDragged) {
      const distance = (b) => Math.abs(budgetX(chart.frame, b) - px);
      const nearest = SMALLEST_FIRST.reduce((best, b) => (distance(b) < distance(best) ? b : best));
      if (nearest === state.budget) return;
      state.budget = nearest;
      renderNow();
      return;
    }
    const { policy, budget } = nearestLine(chart.frame, chart.shown, px, py);
    box.style.cursor = isAtHandle([px, py]) ? "ew-resize" : policy >= 0 ? "pointer" : "default";
    lightUp(policy);
    if (policy >= 0) lineTip(event, policy, budget);
    else hideTip();
  };
  box.onpointerleave = () => {
    lightUp(-1);
    hideTip();
  };
}

function renderChart() {
  const box = byId("chart");
  const shown = shownPolicies();
  const range = chartRange(shown);
  byId("leaders").replaceChildren();
  if (!range) {
    chart = null;
    box.replaceChildren("Nothing to draw: no policy matches, or this measure has no values here.");
    return;
  }
  const frame = chartFrame(range, Math.max(320, box.clientWidth));
  const { width, height, margin, right, floor } = frame;
  const metric = metricOf(state.metric);
  const description =
    `${lossName(metric)} against what is kept, ${counted(shown.length, "policy", "policies")}; ` +
    "the table beside it has the numbers";
  const drawing = picture(width, height, description);
  drawing.append(
    svg(
      "defs",
      {},
      svg(
        "pattern",
        { id: "hatch", width: 7, height: 7, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
        svg("line", { x1: 0, y1: 0, x2: 0, y2: 7, stroke: "var(--faint)", opacity: 0.45 }),
      ),
      svg(
        "clipPath",
        { id: "plot" },
        svg("rect", {
          x: margin.left - 3,
          y: margin.top - 4,
          width: right - margin.left + 6,
          height: floor - margin.top + 6,
        }),
      ),
    ),
  );
  const lines = chartLines(shown);
  const lit = svg("path", { class: "lit", d: "" });
  drawing.append(
    ...chartAxes(frame),
    ...extrapolatedZone(frame),
    svg(
      "g",
      { "clip-path": "url(#plot)" },
      state.pins.map((p) => band(frame, p)),
      lines.map(({ policy, attributes }) => svg("path", { d: pathThrough(linePoints(frame, policy)), ...attributes })),
      singleDots(frame, shown),
      lit,
    ),
    ...budgetLine(frame),
    ...(frame.isNarrow ? [] : endLabels(frame, lines)),
  );
  box.replaceChildren(drawing);
  chart = { frame, shown, lit };
  byId("leaders").append(leaderStrip(frame), frame.isNarrow ? chartLegend(lines) : "");
}

/** The best policy of each budget, on the same x axis. */
function leaderStrip(frame) {
  const strip = picture(frame.width, 34, "best policy at each budget");
  const xs = SMALLEST_FIRST.map((b) => budgetX(frame, b));
  const border = (place) => {
    if (place <= 0) return frame.margin.left;
    return place >= xs.length ? frame.right : (xs[place - 1] + xs[place]) / 2;
  };
  for (const { policy, from, to } of leaders()) {
    const [start, end] = [border(from), border(to + 1)];
    const room = Math.floor((end - start - 8) / 7.2);
    const text = room > 3 ? shortened(nameOf(policy), room) : "";
    strip.append(
      svg(
        "rect",
        {
          x: start + 0.5,
          y: 2,
          width: Math.max(1, end - start - 1),
          height: 20,
          rx: 3,
          fill: colourOf(policy) ?? "var(--muted)",
        },
        svg("title", {}, nameOf(policy)),
      ),
      label((start + end) / 2, 16, text, { "text-anchor": "middle", class: "leading" }),
    );
  }
  if (!frame.isNarrow) strip.append(label(frame.right + 14, 16, "← who leads"));
  return strip;
}

const chartLegend = (lines) =>
  html(
    "div",
    { class: "legend wrapped" },
    lines
      .filter((each) => each.colour)
      .map(({ policy, colour }) => html("span", { style: `color:${colour};font-weight:600` }, `━ ${nameOf(policy)}`)),
  );
