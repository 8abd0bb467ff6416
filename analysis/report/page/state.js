// What is shown. It is in the address, so that a link opens the same view.

const MOST_PINS = 6;

/** Index of the budget that is nearest in ratio. */
function nearestBudget(wanted) {
  const distance = (b) => Math.abs(Math.log(meta.budgets.values[b] / wanted));
  return [...meta.budgets.values.keys()].reduce((best, b) => (distance(b) < distance(best) ? b : best), 0);
}

const state = {
  metric: meta.headline[0],
  point: meta.points.length - 1,
  layer: 0, // 0: all together, else 1 + index
  budget: nearestBudget(meta.budgets.kind === "tokens" ? 256 : 0.1),
  x: "kept_fraction",
  logX: true,
  logY: true,
  pins: [], // policies in colour
  isLeader: true, // the policy that is looked at is whoever leads, until somebody chooses one
  first: 0, // the policy that is looked at, and the one it is held against
  second: 0,
  families: new Set(), // none chosen: all
  search: "",
  sort: "value", // "value", "area", "cache"
  bound: null,
  heat: null, // metric of the heat maps
  tokenMode: "one", // "one", "both"
  tokenCase: 0,
  tokenLayer: -1, // -1: all
  tokenHead: -1,
  truth: meta.headline[0],
};

const colourOf = (policy) => {
  const place = state.pins.indexOf(policy);
  return place < 0 ? null : `var(--pin${place})`;
};

function togglePin(policy) {
  const place = state.pins.indexOf(policy);
  if (place >= 0) state.pins.splice(place, 1);
  else state.pins.push(policy);
  if (state.pins.length > MOST_PINS) state.pins.shift();
  render();
}

/** The winners at the usual budgets, and the baselines that everybody knows. */
function choosePins() {
  const winners = [0.05, 0.1, 0.25, 0.5].map((share) => ranked(nearestBudget(share))[0]);
  const known = meta.baselines.map(policyCalled).filter((p) => isContestant.has(p));
  const [best, next] = ranked();
  const wanted = [...winners, best, next, ...known].filter((p) => p !== undefined && p !== random);
  state.pins = [...new Set(wanted)].slice(0, MOST_PINS);
  state.first = best ?? 0;
  state.second = known.find((p) => p !== state.first) ?? next ?? state.first;
}

/** The case of the tokens that belongs to the point. */
function tokenCaseOf(point) {
  const place = meta.tokens.cases.findIndex((each) => meta.cases[each.case].point === meta.points[point].name);
  return Math.max(0, place);
}

function saveState() {
  const parts = new URLSearchParams({
    loss: state.metric,
    point: meta.points[state.point].name,
    layer: state.layer ? meta.layers[state.layer - 1] : "all",
    keep: meta.budgets.values[state.budget],
    pins: state.pins.map(nameOf).join("~"),
    policy: nameOf(state.first),
    against: nameOf(state.second),
    sort: state.sort,
    cache: state.bound ?? "",
    tokens: state.tokenMode,
  });
  // A page in a frame, or from a folder that forbids it, may not: then links show the beginning.
  try {
    history.replaceState(null, "", `#${parts}`);
  } catch {}
}

function restoreState() {
  if (!location.hash.includes("=")) return;
  const parts = new URLSearchParams(location.hash.slice(1));
  if (metricOf(parts.get("loss"))) state.metric = parts.get("loss");
  const point = meta.points.findIndex((each) => each.name === parts.get("point"));
  if (point >= 0) state.point = point;
  state.tokenCase = tokenCaseOf(state.point);
  if (parts.has("layer")) state.layer = nLayers > 1 ? 1 + meta.layers.findIndex((layer) => String(layer) === parts.get("layer")) : 0;
  if (Number(parts.get("keep")) > 0) state.budget = nearestBudget(Number(parts.get("keep")));
  const known = (name) => [policyCalled(name)].filter((p) => p >= 0);
  const pins = (parts.get("pins") ?? "").split("~").flatMap(known);
  if (pins.length || parts.get("pins") === "") state.pins = pins.slice(0, MOST_PINS);
  const [first] = known(parts.get("policy"));
  if (first !== undefined) {
    state.first = first;
    state.isLeader = first === ranked()[0];
  }
  state.second = known(parts.get("against"))[0] ?? state.second;
  if (["value", "area", "cache"].includes(parts.get("sort"))) state.sort = parts.get("sort");
  if (Number(parts.get("cache")) > 0) state.bound = Number(parts.get("cache"));
  if (parts.get("tokens") === "both") state.tokenMode = "both";
}
