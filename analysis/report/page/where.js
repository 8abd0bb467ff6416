// View 3: in which heads, layers, marked spans and samples the loss lies, of one policy against another.

const PANEL = 400; // width of the drawings, in their own units
const MOST_SAMPLES = 14;

/** Losses before what is kept. */
const heatMetrics = () => {
  const keys = meta.metrics.map((metric) => metric.key).filter((key) => arrays.has(`heat:${key}`));
  const rank = (key) => ["loss", "surrogate", "amount"].indexOf(metricOf(key).role);
  return keys.sort((a, b) => rank(a) - rank(b));
};
const firstColour = () => colourOf(state.first) ?? "var(--accent)";

function panel(title, aside, ...content) {
  return html("div", { class: "panel" }, html("h3", {}, title, aside ? quiet(` ${aside}`) : null), ...content);
}

const legend = (...content) => html("div", { class: "legend" }, ...content);
const firstKey = (mark) => html("span", { style: `color:${firstColour()}` }, `${mark} ${nameOf(state.first)}`);
const secondKey = (mark) => html("span", {}, `${mark} ${nameOf(state.second)}`);
const isPair = () => state.first !== state.second;

// Heat maps

function heatValues(key) {
  const figures = arrays.get(`heat:${key}`);
  const place = meta.heat_budgets.indexOf(state.budget);
  // Of many budgets some are kept: the nearest one below stands for what lies between.
  const b = place >= 0 ? place : Math.max(0, meta.heat_budgets.findLastIndex((each) => each <= state.budget));
  return {
    nHeads: figures.shape[2],
    at: (policy, layer, head) => {
      const value = figures.at(state.point, layer, head, policy, b);
      return key === "kept_fraction" ? value : asLoss(key, value);
    },
  };
}

/**
 * @param cell (layer, head) to {rgb, text}
 * @param tip (layer, head) to the content of the tip
 */
function heatMap(nHeads, description, cell, tip) {
  const [left, top] = [34, 18];
  const width = (PANEL - left) / nHeads;
  const height = Math.max(11, Math.min(34, width * 0.8, 560 / nLayers));
  const drawing = picture(PANEL, top + nLayers * height + 4, description);
  drawing.setAttribute("tabindex", 0);
  for (let head = 0; head < nHeads; head++)
    if (nHeads <= 16 || head % 4 === 0)
      drawing.append(label(left + (head + 0.5) * width, 12, head, { "text-anchor": "middle" }));
  for (let layer = 0; layer < nLayers; layer++) {
    const y = top + layer * height;
    if (nLayers <= 16 || layer % 3 === 0)
      drawing.append(label(left - 7, y + height / 2 + 4, meta.layers[layer], { "text-anchor": "end" }));
    for (let head = 0; head < nHeads; head++) {
      const { rgb, text } = cell(layer, head);
      const x = left + head * width;
      drawing.append(
        svg("rect", {
          x: x + 0.5,
          y: y + 0.5,
          width: width - 1,
          height: height - 1,
          rx: 2,
          fill: rgb ? rgbText(rgb) : "var(--null)",
        }),
      );
      if (rgb && text && height >= 20 && width >= 30)
        drawing.append(
          label(x + width / 2, y + height / 2 + 4, text, {
            "text-anchor": "middle",
            style: `font-size:10.5px;fill:${inkOn(rgb)}`,
          }),
        );
    }
  }
  listenToCells(drawing, { left, top, width, height, nHeads }, tip);
  return drawing;
}

/** Tips under the pointer, and with the arrow keys. */
function listenToCells(drawing, { left, top, width, height, nHeads }, tip) {
  const frame = svg("rect", { width, height, class: "cursor", rx: 3, visibility: "hidden" });
  drawing.append(frame);
  let [layer, head] = [0, 0];
  const show = (event) => {
    frame.setAttribute("x", left + head * width);
    frame.setAttribute("y", top + layer * height);
    frame.setAttribute("visibility", "visible");
    showTip(event, ...tip(layer, head));
  };
  const hide = () => {
    frame.setAttribute("visibility", "hidden");
    hideTip();
  };
  drawing.onpointermove = (event) => {
    const box = drawing.getBoundingClientRect();
    const scale = PANEL / box.width;
    const column = Math.floor(((event.clientX - box.left) * scale - left) / width);
    const row = Math.floor(((event.clientY - box.top) * scale - top) / height);
    if (column < 0 || row < 0 || column >= nHeads || row >= nLayers) return hide();
    [layer, head] = [row, column];
    return show(event);
  };
  drawing.onpointerleave = drawing.onblur = hide;
  drawing.onkeydown = (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    layer = Math.max(0, Math.min(nLayers - 1, layer + step[0]));
    head = Math.max(0, Math.min(nHeads - 1, head + step[1]));
    const box = drawing.getBoundingClientRect();
    const scale = box.width / PANEL;
    show({
      clientX: box.left + (left + (head + 0.5) * width) * scale,
      clientY: box.top + (top + (layer + 1) * height) * scale,
    });
  };
}

/** From the values of both policies: one colour scale for both. */
function heatScale(values, isLoss) {
  const known = values.filter((value) => value > 0).sort((a, b) => a - b);
  const low = known[Math.floor(known.length * 0.02)] ?? 1e-6;
  const high = known.at(-1) ?? 1;
  const isLog = isLoss && high / low > 8;
  const place = (value) => {
    if (!(value > 0)) return 0;
    return isLog ? Math.log(value / low) / Math.log(high / low) : value / high;
  };
  return { low, high, isLog, place };
}

function policyHeat(policy, key, heat, scale, name) {
  const colours = ramp("--sequence");
  const cell = (layer, head) => {
    const value = heat.at(policy, layer, head);
    if (isMissing(value)) return {};
    return { rgb: colours(scale.place(value)), text: formatted(value).replace(/^0\./, ".") };
  };
  const tip = (layer, head) => [
    strong(nameOf(policy)),
    ` layer ${meta.layers[layer]}, head ${head}`,
    line(),
    `${name} `,
    strong(formatted(heat.at(policy, layer, head))),
  ];
  return panel(
    nameOf(policy),
    name,
    heatMap(heat.nHeads, `${nameOf(policy)}: ${name} by layer and head`, cell, tip),
    legend(
      scale.isLog ? formatted(scale.low) : "0",
      html("i", { style: gradient(colours) }),
      `${formatted(scale.high)}${scale.isLog ? ", log" : ""}`,
    ),
  );
}

function ratioHeat(heat, isLoss) {
  const colours = ramp("--divergence");
  const ratio = (layer, head) => {
    const [a, b] = [state.first, state.second].map((p) => heat.at(p, layer, head));
    if (!isLoss) return a - b;
    if (a > 0 && b > 0) return Math.log2(a / b);
    return a === b ? 0 : NaN;
  };
  const cells = meta.layers.flatMap((_, layer) => [...Array(heat.nHeads).keys()].map((head) => Math.abs(ratio(layer, head)) || 0));
  const most = Math.min(isLoss ? 3 : 1, Math.max(isLoss ? 0.5 : 0.05, ...cells));
  const text = (r) => {
    if (!isLoss) return `${r > 0 ? "+" : "−"}${Math.abs(r).toFixed(2).slice(1)}`;
    const factor = 2 ** Math.abs(r);
    return factor < 1.05 ? "=" : times(factor);
  };
  const cell = (layer, head) => {
    const r = ratio(layer, head);
    return Number.isNaN(r) ? {} : { rgb: colours(0.5 + r / most / 2), text: text(r) };
  };
  const tip = (layer, head) => [
    `layer ${meta.layers[layer]}, head ${head}`,
    ...[state.first, state.second].flatMap((p) => [line(), `${nameOf(p)} `, strong(formatted(heat.at(p, layer, head)))]),
  ];
  return panel(
    "One against the other",
    isLoss ? "ratio of the losses" : "difference",
    heatMap(heat.nHeads, "one policy against the other by layer and head", cell, tip),
    legend(
      isLoss ? `${nameOf(state.first)} better` : "less",
      html("i", { style: gradient(colours) }),
      isLoss ? `${nameOf(state.second)} better` : "more",
    ),
  );
}

function worstHeads(heat) {
  const cells = meta.layers.flatMap((_, layer) =>
    [...Array(heat.nHeads).keys()].map((head) => ({
      layer,
      head,
      value: heat.at(state.first, layer, head),
      other: heat.at(state.second, layer, head),
    })),
  );
  const worst = cells.filter((cell) => cell.value > 0).sort((a, b) => b.value - a.value).slice(0, 5);
  // What no choice of tokens could save.
  const ofOracle = (layer, head) =>
    oracle >= 0 && oracle !== state.second ? `, oracle ${formatted(heat.at(oracle, layer, head))}` : "";
  const item = ({ layer, head, value, other }) =>
    html(
      "li",
      {},
      `layer ${meta.layers[layer]}, head ${head}: `,
      strong(formatted(value)),
      isPair() ? quiet(` (${nameOf(state.second)} ${formatted(other)}${ofOracle(layer, head)})`) : null,
    );
  return panel(`Worst heads of ${nameOf(state.first)}`, "", html("ol", {}, worst.map(item)));
}

// Marked spans

function spanPanel() {
  const keys = spanKeys();
  const [left, right, step, height] = [74, PANEL - 90, 58, 36];
  const x = linearScale(0, Math.max(1, nBudgets - 1), left, right);
  const drawing = picture(PANEL, keys.length * step + 18, "share of each marked span that is kept, by budget");
  keys.forEach((key, row) => {
    const top = row * step + 16;
    const share = (p, b) => curve(key, p, b);
    const path = (p) =>
      pathThrough(
        SMALLEST_FIRST.map((b, place) => (isMissing(share(p, b)) ? null : [x(place), top + height - height * share(p, b)])),
      );
    const at = x(SMALLEST_FIRST.indexOf(state.budget));
    drawing.append(
      label(0, top + height / 2 + 4, shortened(metricOf(key).part, 10), { class: "ink" }),
      ...[top, top + height].map((y) => svg("line", { x1: left, x2: right, y1: y, y2: y, class: "grid" })),
      label(left - 6, top + 5, "all", { "text-anchor": "end", class: "small" }),
      label(left - 6, top + height + 3, "0", { "text-anchor": "end", class: "small" }),
      svg("path", { d: path(state.second), class: "line", stroke: "var(--muted)", "stroke-dasharray": "3 3" }),
      svg("path", { d: path(state.first), class: "line", stroke: firstColour() }),
      svg("line", { x1: at, x2: at, y1: top - 2, y2: top + height, class: "budget" }),
      label(right + 8, top + 12, percent(share(state.first, state.budget)), {
        style: `font-weight:600;fill:${firstColour()}`,
      }),
      label(right + 8, top + 30, percent(share(state.second, state.budget))),
    );
  });
  const anchors = { [nBudgets - 1]: "end", 0: "start" };
  for (const place of new Set([0, Math.floor(nBudgets / 2), nBudgets - 1]))
    drawing.append(
      label(x(place), keys.length * step + 12, budgetText(SMALLEST_FIRST[place]), {
        "text-anchor": anchors[place] ?? "middle",
      }),
    );
  return panel("What is left of the marked spans", "", drawing, legend(firstKey("━"), secondKey("┅")));
}

// Samples

function samplePanel() {
  const name = `case:${state.metric}`;
  if (!arrays.has(name) || meta.samples.length < 2) return null;
  const value = (c, p) => asLoss(state.metric, arrays.get(name).at(c, p, state.budget));
  const rows = meta.points[state.point].cases
    .map((c) => ({ c, a: value(c, state.first), b: value(c, state.second) }))
    .filter(({ a, b }) => a > 0 && b > 0)
    .sort((one, other) => other.a - one.a)
    .slice(0, MOST_SAMPLES);
  if (!rows.length) return null;
  const all = rows.flatMap(({ a, b }) => [a, b]);
  const [low, high, step] = [Math.min(...all), Math.max(...all), 19];
  const x = logScale(low * 0.9, high * 1.1, 128, PANEL - 8);
  const drawing = picture(PANEL, rows.length * step + 24, "loss by sample");
  rows.forEach(({ c, a, b }, i) => {
    const y = 12 + i * step;
    drawing.append(
      label(0, y + 4, shortened(meta.cases[c].sample, 18)),
      svg("line", { x1: x(a), x2: x(b), y1: y, y2: y, stroke: a > b ? "var(--pin1)" : "var(--grey)", "stroke-width": 2 }),
      svg("circle", { cx: x(b), cy: y, r: 4, class: "hollow" }),
      svg("circle", { cx: x(a), cy: y, r: 4.5, fill: firstColour() }),
    );
  });
  for (const tick of logTicks(low, high, true))
    drawing.append(label(x(tick), rows.length * step + 18, tickText(tick), { "text-anchor": "middle" }));
  const title = `Worst samples, ${lossName(metricOf(state.metric))}`;
  return panel(title, "", drawing, legend(firstKey("●"), secondKey("○")));
}

// Layers

/** Of predicted KL the contributions that add up to it; of other measures of the model the nearest that has layers. */
function layerMetric() {
  const candidates =
    state.metric === "predicted_kl"
      ? ["predicted_kl_layer_contribution"]
      : [metricOf(state.metric).of_model ? "absolute_projected_error" : state.metric, "output_error"];
  return candidates.find((key) => arrays.has(`curve:${key}`) && arrays.get(`curve:${key}`).shape[1] > 1);
}

function layerPanel() {
  const key = layerMetric();
  if (nLayers < 2 || !key) return null;
  const value = (policy, layer) => lossOf(key, policy, state.budget, { layer: layer + 1 });
  const all = meta.layers.flatMap((_, layer) => [value(state.first, layer), value(state.second, layer)]).filter((v) => !isMissing(v));
  if (!all.length) return null;
  const [low, high, height] = [Math.min(0, ...all), Math.max(0, ...all), 190];
  const y = linearScale(low, high, height - 20, 10);
  const width = (PANEL - 50) / nLayers;
  const drawing = picture(PANEL, height, "loss by layer");
  for (const tick of linearTicks(low, high, 4))
    drawing.append(
      svg("line", { x1: 44, x2: PANEL, y1: y(tick), y2: y(tick), class: "grid" }),
      label(40, y(tick) + 4, tickText(tick), { "text-anchor": "end" }),
    );
  meta.layers.forEach((number, layer) => {
    const [a, b] = [value(state.first, layer), value(state.second, layer)];
    const x = 46 + layer * width;
    if (!isMissing(a))
      drawing.append(
        svg("rect", {
          x,
          y: Math.min(y(0), y(a)),
          width: Math.max(1, width - 2),
          height: Math.abs(y(a) - y(0)),
          fill: firstColour(),
          rx: 1,
        }),
      );
    if (!isMissing(b))
      drawing.append(svg("line", { x1: x - 1, x2: x - 1 + width, y1: y(b), y2: y(b), stroke: "var(--ink)", "stroke-width": 2 }));
    if (nLayers <= 16 || layer % 5 === 0)
      drawing.append(label(x + width / 2, height - 4, number, { "text-anchor": "middle" }));
  });
  const title = key === "predicted_kl_layer_contribution" ? "Layers add up to the predicted KL" : `By layer: ${lossName(metricOf(key))}`;
  return panel(title, "", drawing, legend(firstKey("■"), secondKey("━"), html("span", {}, "x: layer")));
}

/** The loss of the whole model has no heads. */
const otherMeasure = () =>
  state.heat !== state.metric && metricOf(state.metric).of_model
    ? ` ${capitalised(lossName(metricOf(state.metric)))} has no heads; this is another measure.`
    : "";

function renderWhere() {
  const panels = [spanKeys().length ? spanPanel() : null, samplePanel(), layerPanel()];
  if (!state.heat) {
    byId("where-facts").textContent = "These results have no measure by head.";
    byId("heat").replaceChildren();
    byId("fails").replaceChildren(...panels.filter(Boolean));
    return;
  }
  const isLoss = state.heat !== "kept_fraction";
  const name = isLoss ? lossName(metricOf(state.heat)) : "share kept";
  const heat = heatValues(state.heat);
  const heads = heat.nHeads === meta.model.n_q_heads ? "query" : "KV";
  const dark = document.documentElement.dataset.theme === "dark" ? "Brighter" : "Darker";
  byId("where-facts").textContent =
    `By layer and ${heads} head, at ${budgetText()} kept, “${meta.points[state.point].name}”. ` +
    `${dark} ${isLoss ? "loses" : "keeps"} more.${otherMeasure()}`;
  const values = [state.first, state.second].flatMap((p) =>
    meta.layers.flatMap((_, layer) => [...Array(heat.nHeads).keys()].map((head) => heat.at(p, layer, head))),
  );
  const scale = heatScale(values, isLoss);
  const maps = [policyHeat(state.first, state.heat, heat, scale, name)];
  if (isPair()) maps.push(policyHeat(state.second, state.heat, heat, scale, name), ratioHeat(heat, isLoss));
  byId("heat").replaceChildren(...maps);
  byId("fails").replaceChildren(...[isLoss ? worstHeads(heat) : null, ...panels].filter(Boolean));
}
