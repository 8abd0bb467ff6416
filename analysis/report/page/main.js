// Unpacks the figures, then draws; every change draws again.

if (!("DecompressionStream" in window)) {
  byId("h-answer").textContent = "This report needs a browser from 2023 or later (Chrome 80, Safari 16.4, Firefox 113).";
  throw new Error("no DecompressionStream");
}

const arrays = await ArrayStore.from("arrays", meta.arrays);
let hasTokens = false; // drawn last, when all else stands
let pending = 0;

/** Draws; what is drawn anew takes over the focus of what it replaces. */
function keepingFocus(draw) {
  const FOCUSABLE = "button, select, input, [tabindex]";
  const focused = document.activeElement;
  const box = focused?.closest("[id]");
  const place = box ? [...box.querySelectorAll(FOCUSABLE)].indexOf(focused) : -1;
  draw();
  if (box && !focused.isConnected) (place < 0 ? byId(box.id) : box.querySelectorAll(FOCUSABLE)[place])?.focus({ preventScroll: true });
}

function renderAll() {
  if (state.isLeader) state.first = ranked()[0] ?? state.first;
  showState();
  renderAnswer();
  renderChart();
  renderRanking();
  renderWhere();
  renderSurrogates();
  if (hasTokens) renderTokens();
  saveState();
}

const renderNow = () => keepingFocus(renderAll);

/** Soon: several changes at once are drawn once. */
function render() {
  clearTimeout(pending);
  pending = setTimeout(renderNow);
}

byId("title").textContent = meta.title;
document.title = `kvreplay report · ${meta.title}`;
state.tokenCase = tokenCaseOf(state.point);
state.heat = heatMetrics()[0] ?? null;
// "report.html#tokens" opens at that section; the address then says what is shown.
const opened = document.querySelector(`main section[id="${CSS.escape(location.hash.slice(1))}"]`);
choosePins();
restoreState();
makeControls();
renderNow();
renderOrigin();
setTimeout(async () => {
  hasTokens = true;
  await renderTokens();
  opened?.scrollIntoView();
});
addEventListener("resize", () => {
  clearTimeout(pending);
  pending = setTimeout(renderNow, 120);
});
addEventListener("hashchange", () => {
  restoreState();
  render();
});
document.documentElement.dataset.ready = Math.round(performance.now());
window.kvreplayReport = { meta, arrays, state, render, ranked, area, smallestCache, loss };
