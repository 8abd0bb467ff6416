// Everything that changes the state, and taking figures away: CSV, SVG, print.

/** Selects that show a part of the state: [id, () => value]. */
const shownValues = [];

function select(id, choices, read, write) {
  const element = byId(id);
  const option = ([value, text]) => html("option", { value }, text);
  const groups = Array.isArray(choices[0]?.[1])
    ? choices.map(([name, list]) => html("optgroup", { label: name }, list.map(option)))
    : choices.map(option);
  element.replaceChildren(...groups);
  element.onchange = () => {
    write(element.value);
    render();
  };
  shownValues.push([element, read]);
}

function metricChoices() {
  const ofRole = (role) => meta.metrics.filter((metric) => metric.role === role).map((metric) => [metric.key, metric.label]);
  return [
    ["What is lost", ofRole("loss")],
    ["Attention and information", ofRole("surrogate")],
  ].filter(([, list]) => list.length);
}

function makeSelects() {
  select("metric", metricChoices(), () => state.metric, (value) => (state.metric = value));
  select(
    "point",
    meta.points.map((point, i) => [i, meta.samples.length > 1 ? `${point.name} (${counted(point.cases.length, "sample")})` : point.name]),
    () => state.point,
    (value) => {
      state.point = Number(value);
      state.tokenCase = tokenCaseOf(state.point);
    },
  );
  const single = meta.layers.map((layer, i) => [i + 1, layer]);
  const layers = nLayers > 1 ? [[0, `all ${nLayers}`], ...single] : [[0, meta.layers[0]]];
  select("layer", layers, () => state.layer, (value) => (state.layer = Number(value)));
  const amounts = meta.metrics.filter((metric) => metric.role === "amount" && arrays.has(`curve:${metric.key}`));
  select(
    "x-axis",
    amounts.map((metric) => [metric.key, lowered(metric.label)]),
    () => state.x,
    (value) => (state.x = value),
  );
  const policies = [...meta.policies.keys()].sort((p, q) => (nameOf(p) < nameOf(q) ? -1 : 1)).map((p) => [p, nameOf(p)]);
  select("first", policies, () => state.first, (value) => {
    state.first = Number(value);
    state.isLeader = state.first === ranked()[0];
  });
  select("second", policies, () => state.second, (value) => (state.second = Number(value)));
  select(
    "heat-metric",
    heatMetrics().map((key) => [key, lowered(metricOf(key).label)]),
    () => state.heat,
    (value) => (state.heat = value),
  );
  select("token-mode", [["one", "one policy"], ["both", "against the other"]], () => state.tokenMode, (value) => (state.tokenMode = value));
  select(
    "token-case",
    meta.tokens.cases.map((each, i) => [i, meta.cases[each.case].label]),
    () => state.tokenCase,
    (value) => (state.tokenCase = Number(value)),
  );
  select(
    "token-layer",
    [[-1, "all"], ...meta.layers.map((layer, i) => [i, layer])],
    () => state.tokenLayer,
    (value) => (state.tokenLayer = Number(value)),
  );
  select(
    "token-head",
    [[-1, "all"], ...[...Array(meta.model.n_kv_heads).keys()].map((head) => [head, head])],
    () => state.tokenHead,
    (value) => (state.tokenHead = Number(value)),
  );
  select("truth", meta.headline.map((key) => [key, metricOf(key).label]), () => state.truth, (value) => (state.truth = value));
}

function makeFamilies() {
  const families = [...new Set(meta.contestants.map((p) => meta.policies[p].family))];
  if (families.length < 2) return;
  const chip = (family) => {
    const button = html("button", { type: "button", class: "chip", "aria-pressed": "false" }, family);
    button.onclick = () => {
      if (!state.families.delete(family)) state.families.add(family);
      button.setAttribute("aria-pressed", String(state.families.has(family)));
      render();
    };
    return button;
  };
  byId("families").replaceChildren(...families.map(chip));
}

function save(name, type, content) {
  const link = html("a", { href: URL.createObjectURL(new Blob([content], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/** The chart alone: the style sheet's colours written into it. */
function saveChart() {
  const original = byId("chart").querySelector("svg");
  if (!original) return;
  const copy = original.cloneNode(true);
  const PROPERTIES = ["fill", "stroke", "stroke-width", "stroke-dasharray", "opacity", "font-size", "font-weight", "paint-order"];
  const copies = [copy, ...copy.querySelectorAll("*")];
  [original, ...original.querySelectorAll("*")].forEach((element, i) => {
    const style = getComputedStyle(element);
    copies[i].style.cssText = PROPERTIES.map((name) => `${name}:${style.getPropertyValue(name)}`).join(";");
  });
  copy.style.background = cssValue("--page");
  copy.style.fontFamily = "sans-serif";
  save(`kvreplay-${state.metric}.svg`, "image/svg+xml", new XMLSerializer().serializeToString(copy));
}

function makeTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const set = (theme) => {
    document.documentElement.dataset.theme = theme;
  };
  set(new URLSearchParams(location.search).get("theme") ?? (dark.matches ? "dark" : "light"));
  dark.onchange = () => {
    set(dark.matches ? "dark" : "light");
    render();
  };
  byId("theme").onclick = () => {
    set(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
    render();
  };
}

/** On paper: light colours, and open what is folded. */
function listenToPrinting() {
  const root = document.documentElement;
  let folded = [];
  let theme = "";
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    theme = root.dataset.theme;
    for (const each of folded) each.open = true;
    root.dataset.theme = "light";
    renderNow();
  });
  addEventListener("afterprint", () => {
    for (const each of folded) each.open = false;
    root.dataset.theme = theme;
    renderNow();
  });
}

function makeControls() {
  makeTheme();
  makeSelects();
  makeFamilies();
  const slider = byId("budget");
  slider.max = nBudgets - 1;
  slider.disabled = nBudgets === 1;
  slider.oninput = () => {
    state.budget = SMALLEST_FIRST[Number(slider.value)];
    render();
  };
  for (const [id, key] of [["log-x", "logX"], ["log-y", "logY"]])
    byId(id).onchange = (event) => {
      state[key] = event.target.checked;
      render();
    };
  byId("find").oninput = (event) => {
    state.search = event.target.value.trim();
    render();
  };
  byId("print").onclick = () => print();
  byId("csv").onclick = () => save(`kvreplay-${state.metric}.csv`, "text/csv", rankingCsv());
  byId("svg").onclick = saveChart;
  listenToChart(byId("chart"));
  listenToPrinting();
  addEventListener("keydown", (event) => {
    if (event.key === "Escape") hideTip();
    if (event.key !== "/" || /INPUT|SELECT|TEXTAREA/.test(document.activeElement.tagName)) return;
    event.preventDefault();
    byId("find").focus();
  });
}

/** The controls say what the state is. */
function showState() {
  const slider = byId("budget");
  slider.value = SMALLEST_FIRST.indexOf(state.budget);
  const sizes = meta.points[state.point].cases.map((c) => meta.cases[c].n_candidates);
  const tokens =
    meta.budgets.kind !== "tokens" && sizes.length === 1
      ? `, ${counted(Math.round(meta.budgets.values[state.budget] * sizes[0]), "token")}`
      : "";
  byId("budget-text").textContent = `${budgetText()}${tokens}`;
  slider.setAttribute("aria-valuetext", byId("budget-text").textContent);
  for (const [element, read] of shownValues) element.value = read();
  const metric = metricOf(state.metric);
  byId("layer").disabled = metric.of_model;
  byId("layer").title = metric.of_model ? "this measure takes all layers together" : "";
  const unit = metric.unit === "1" ? "" : ` (${metric.unit})`;
  const drawn = isShare(state.metric) ? " Drawn: what is missing to 1." : "";
  byId("metric-facts").textContent = `${capitalised(metric.summary.replace(/`([^`]*)`/g, "“$1”"))}${unit}.${drawn}`;
}
