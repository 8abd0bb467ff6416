// Figures of the view, read from the arrays. Nothing is pooled, ranked by area or interpolated here: the program did.

/** Of measures where more is better the missing part is drawn, so that down is good in every chart. */
const isShare = (key) => metricOf(key).better === "higher";
const asLoss = (key, value) => (isShare(key) ? Math.max(0, 1 - value) : value);
const lossName = (metric) => `${isShare(metric.key) ? "1 − " : ""}${lowered(metric.label)}`;
/** Measures of the whole model have no layers. */
const layerPlace = (figures, layer) => Math.min(layer, figures.shape[1] - 1);

function curve(key, policy, budget, { layer = state.layer, point = state.point } = {}) {
  const figures = arrays.get(`curve:${key}`);
  return figures.at(point, layerPlace(figures, layer), policy, budget);
}

const lossOf = (key, policy, budget, where) => asLoss(key, curve(key, policy, budget, where));
const loss = (policy, budget = state.budget) => lossOf(state.metric, policy, budget);
const kept = (policy, budget) => curve("kept_fraction", policy, budget);

/** Mean height of the curve. */
function area(policy) {
  const figures = arrays.get(`area:${state.metric}`);
  return asLoss(state.metric, figures.at(state.point, layerPlace(figures, state.layer), policy));
}

/** Bounds of the loss that smallest caches were looked for. */
const bounds = () => metricOf(state.metric).bounds;

/** The smallest cache that holds bound i: its share, NaN for never; whether a smaller one may do. */
function smallestCache(policy, i) {
  const shares = arrays.get(`smallest:${state.metric}`);
  const place = [state.point, layerPlace(shares, state.layer), i, policy];
  return { share: shares.at(...place), isLeast: arrays.get(`at_smallest:${state.metric}`).at(...place) === 1 };
}

/** [low, high] over samples; null without any. */
function interval(policy, budget) {
  const name = `interval:${state.metric}`;
  if (state.layer || !arrays.has(name)) return null;
  const [low, high] = [0, 1].map((end) => arrays.get(name).at(state.point, end, policy, budget));
  if (isMissing(low)) return null;
  return isShare(state.metric) ? [1 - high, 1 - low] : [low, high];
}

/** Whether these samples cannot tell it from the best of the contestants at this budget. */
function isTied(policy, budget = state.budget) {
  const name = `tie:${state.metric}`;
  return isContestant.has(policy) && !state.layer && arrays.has(name) && arrays.get(name).at(state.point, policy, budget) === 1;
}

/** Contestants with a value at this budget, best first. */
function ranked(budget = state.budget) {
  const known = meta.contestants.filter((p) => !isMissing(loss(p, budget)));
  return known.sort((p, q) => loss(p, budget) - loss(q, budget));
}

/** Keeps something else than asked for, by more than 5 %. */
const keepsOther = (policy, budget = state.budget) =>
  meta.budgets.kind !== "tokens" &&
  !meta.policies[policy].reference &&
  Math.abs(kept(policy, budget) / meta.budgets.values[budget] - 1) > 0.05;

/** Above it predictions are extrapolated; NaN where nothing is known. */
const predictionLimit = () => (state.metric === "predicted_kl" ? (meta.points[state.point].extrapolates ?? NaN) : NaN);

/** Runs of budgets that one policy leads, from the smallest on: {policy, from, to} as places in SMALLEST_FIRST. */
function leaders() {
  const runs = [];
  SMALLEST_FIRST.forEach((b, place) => {
    const [winner] = ranked(b);
    if (winner === undefined || loss(winner, b) === 0) return;
    const last = runs.at(-1);
    if (last?.policy === winner && last.to === place - 1) last.to = place;
    else runs.push({ policy: winner, from: place, to: place });
  });
  return runs;
}

/** Policies that the search and the chosen families leave. */
function isFound(policy) {
  const { name, parameters, family, reference } = meta.policies[policy];
  const holds = (text) => text.toLowerCase().includes(state.search.toLowerCase());
  const ofFamily = !state.families.size || state.families.has(family) || reference === "oracle";
  return ofFamily && (holds(name) || holds(parameters));
}
