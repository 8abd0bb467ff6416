// View 4: which tokens the retained sets hold.

const MOST_COLUMNS = 2000; // of the map: longer prompts are summed into so many
const MOST_WORDS = 20000; // tokens of which the text is shown whole
const MOST_SPAN_WORDS = 60;
const WINDOW = 512; // tokens around a click, of longer ones

let tokenArrays = null;
let tokenView = null; // what stands in the page, until the case changes

const tokenCase = () => meta.tokens.cases[state.tokenCase];

/** Bit of the budget in the masks; -1 where the report does not hold it. */
const tokenBit = () => meta.tokens.budgets.indexOf(state.budget);

/** Layers and heads that are looked at; a large case may hold some layers alone. */
function chosenSets({ layers, n_heads: nHeads }) {
  const chosen = state.tokenLayer < 0 ? layers : layers.filter((layer) => layer === state.tokenLayer);
  const heads = state.tokenHead < 0 ? [...Array(nHeads).keys()] : [Math.min(state.tokenHead, nHeads - 1)];
  return chosen.flatMap((layer) => heads.map((head) => ({ layer, head })));
}

/** One set: a function of a token to whether it is kept. */
function keptBy(policy, { layer, head }) {
  const { case: caseIndex, policies, layers, n_heads: nHeads, n_tokens: n } = tokenCase();
  const masks = tokenArrays.get(`tokens:${caseIndex}`).values;
  const begin = ((policies.indexOf(policy) * layers.length + layers.indexOf(layer)) * nHeads + head) * n;
  const bit = 1 << tokenBit();
  return (token) => (masks[begin + token] & bit) !== 0;
}

/** [n_tokens] share of the sets that keep each token. */
function keptShares(policy, sets) {
  const shares = new Float32Array(tokenCase().n_tokens);
  for (const set of sets) {
    const isKept = keptBy(policy, set);
    for (let i = 0; i < shares.length; i++) if (isKept(i)) shares[i] += 1 / sets.length;
  }
  return shares;
}

const spanClass = (name) => (name.includes("needle") ? "needle" : name === "question" ? "question" : "other");
const markedSpans = () => tokenCase().spans.filter((span) => span.name !== "context" && span.begin < tokenCase().n_tokens);

/** Results hold figures alone: sets are saved by request. */
function sayHowToAddTokens() {
  byId("token-tools").hidden = true;
  const replay = meta.origin.command || "kvreplay replay TRACE";
  byId("token-body").replaceChildren(
    html("p", {}, "This report has no retained sets. Two commands add them:"),
    html("pre", { tabindex: 0, role: "region", "aria-label": "commands" }, `${replay} --output RESULTS --save-retained SETS\nkvreplay report RESULTS --retained SETS --output REPORT`),
  );
}

/** Why there is nothing to show of what is chosen; null where there is. */
function missingSets() {
  const { policies, layers } = tokenCase();
  const held = (names) => names.join(", ");
  if (tokenBit() < 0)
    return `The sets at ${budgetText()} are not in this report; it holds ${held(meta.tokens.budgets.map((b) => budgetText(b)))}.`;
  if (!policies.includes(state.first))
    return `The sets of ${nameOf(state.first)} are not in this report; of this case it holds ${held(policies.map(nameOf))}.`;
  if (state.tokenLayer >= 0 && !layers.includes(state.tokenLayer))
    return `The sets of layer ${meta.layers[state.tokenLayer]} are not in this report; of this case it holds ${held(layers.map((layer) => meta.layers[layer]))}.`;
  return null;
}

/** Room in a report is bounded: what of the sets it lacks. */
function thinnedText() {
  const { policies, layers } = tokenCase();
  const parts = [
    policies.length < nPolicies && `${policies.length} of ${nPolicies} policies`,
    layers.length < nLayers && `${layers.length} of ${nLayers} layers`,
    meta.tokens.cases.length < meta.tokens.n_cases && `${meta.tokens.cases.length} of ${counted(meta.tokens.n_cases, "case")}`,
  ].filter(Boolean);
  return parts.length ? ` Here are the sets of ${parts.join(", ")}.` : "";
}

function makeTokenView() {
  const text = html("div", { class: "columns" });
  const scroll = html("div", { class: "text", tabindex: 0, role: "region", "aria-label": "prompt" }, text);
  tokenView = {
    caseIndex: tokenCase().case,
    map: html("div", { class: "map" }),
    scroll,
    text,
    statistics: html("table", { class: "statistics" }),
    key: html("div", { class: "token-key" }),
    words: new Map(),
    begin: 0,
  };
  tokenView.grid = html("div", { class: "token-grid" }, scroll, html("div", {}, tokenView.statistics, tokenView.key));
  byId("token-body").replaceChildren(tokenView.map, tokenView.grid);
  fillText(0);
  text.onpointermove = (event) => {
    const token = Number(event.target.dataset?.token ?? NaN);
    if (Number.isNaN(token)) return hideTip();
    const { first, second, nSets } = tokenView;
    const other = second ? [", by ", strong(nameOf(state.second)), ` in ${Math.round(second[token] * nSets)}`] : [];
    const sets = nSets > 1 ? `${nSets} layer × head sets` : "one set";
    return showTip(
      event,
      `token ${token}, kept by `,
      strong(nameOf(state.first)),
      ` in ${Math.round(first[token] * nSets)}`,
      ...other,
      quiet(` of ${sets}`),
    );
  };
  text.onpointerleave = hideTip;
}

/** Words of the whole prompt, or of a window of a long one. */
function fillText(begin) {
  const { n_tokens: n, texts } = tokenCase();
  const { text, words } = tokenView;
  words.clear();
  if (!texts) {
    text.replaceChildren("This trace has no token texts; the map above shows positions.");
    return;
  }
  const isLong = n > MOST_WORDS;
  tokenView.begin = isLong ? Math.max(0, Math.min(n - WINDOW, begin)) : 0;
  const end = isLong ? tokenView.begin + WINDOW : n;
  for (let i = tokenView.begin; i < end; i++) {
    const classes = markedSpans().filter((span) => i >= span.begin && i < span.end).map((span) => spanClass(span.name));
    words.set(i, html("span", { "data-token": i, class: classes.join(" ") || null }, texts[i]));
  }
  const note = isLong ? html("p", { class: "hint" }, `Tokens ${tokenView.begin} to ${end - 1} of ${n}: click the map for others.`) : "";
  text.replaceChildren(note, ...words.values());
}

function shadeText() {
  const { first, second, words } = tokenView;
  const [keep, other] = [cssValue("--keep"), cssValue("--other")];
  for (const [i, word] of words) {
    const [a, b] = [first[i], second ? second[i] : 0];
    const difference = a - b;
    const isAlike = Math.abs(difference) < 0.02;
    const both = second && a > 0.02 ? "rgba(128,128,128,.22)" : "";
    const shade = `rgba(${difference > 0 ? keep : other},${(0.1 + 0.4 * Math.abs(difference)).toFixed(2)})`;
    word.style.background = isAlike ? both : shade;
    word.style.color = Math.max(a, b) > 0.01 ? "" : "var(--pale)";
  }
}

function findToken(token) {
  if (!tokenView.words.has(token)) {
    fillText(token - WINDOW / 2);
    shadeText();
  }
  const word = tokenView.words.get(token);
  if (!word) return;
  const { scroll } = tokenView;
  scroll.scrollTop += word.getBoundingClientRect().top - scroll.getBoundingClientRect().top - scroll.clientHeight / 2;
  word.classList.add("flash");
  setTimeout(() => word.classList.remove("flash"), 1400);
}

/** A row for each set, a column for each token (or several, of long prompts). */
function tokenMap(sets) {
  const n = tokenCase().n_tokens;
  const nColumns = Math.min(n, MOST_COLUMNS);
  const columnOf = (token) => Math.floor((token * nColumns) / n);
  const rowHeight = sets.length > 60 ? 3 : sets.length > 24 ? 5 : sets.length > 6 ? 9 : 16;
  const isGrouped = state.tokenLayer < 0 && tokenCase().n_heads > 1 && rowHeight > 3;
  const tops = [];
  let height = 0;
  sets.forEach((set, row) => {
    if (isGrouped && row && sets[row - 1].layer !== set.layer) height += 1;
    tops.push(height);
    height += rowHeight;
  });
  const canvas = html("canvas", {
    role: "img",
    tabindex: 0,
    "aria-label": "kept tokens by position, a row for each layer and head; arrow keys walk, Enter finds the token",
    style: `height:${Math.max(60, height)}px`,
  });
  canvas.width = nColumns;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(nColumns, height);
  const colours = {
    first: cssValue("--keep").split(",").map(Number),
    second: cssValue("--other").split(",").map(Number),
    both: rgbOfHex(cssValue("--grey")),
    none: rgbOfHex(cssValue("--null")),
  };
  const isTwo = Boolean(tokenView.second);
  sets.forEach((set, row) => {
    const a = columnShares(keptBy(state.first, set), n, nColumns, columnOf);
    const b = isTwo ? columnShares(keptBy(state.second, set), n, nColumns, columnOf) : null;
    for (let column = 0; column < nColumns; column++) {
      const rgb = mapColour(a[column], b ? b[column] : 0, isTwo, colours);
      for (let y = tops[row]; y < tops[row] + rowHeight; y++) image.data.set([...rgb, 255], 4 * (y * nColumns + column));
    }
  });
  context.putImageData(image, 0, 0);
  const hit = (event) => {
    const box = canvas.getBoundingClientRect();
    const share = (position, size, count) => Math.max(0, Math.min(count - 1, Math.floor((position / size) * count)));
    return {
      token: share(event.clientX - box.left, box.width, n),
      set: sets[share(event.clientY - box.top, box.height, sets.length)],
    };
  };
  const tell = (event, { token, set }) => {
    const text = tokenCase().texts?.[token];
    showTip(
      event,
      `token ${token}${text === undefined ? "" : ` “${text.replaceAll("\n", "⏎")}”`}`,
      line(),
      quiet(`layer ${meta.layers[set.layer]}, KV head ${set.head}; kept in ${percent(tokenView.first[token])} of the sets`),
    );
  };
  listenToMap(canvas, sets, hit, tell);
  return canvas;
}

/** With a pointer, and with the keyboard: arrows go from token to token and from set to set. */
function listenToMap(canvas, sets, hit, tell) {
  let [token, row] = [0, 0];
  const n = tokenCase().n_tokens;
  const within = (value, count) => Math.max(0, Math.min(count - 1, value));
  canvas.addEventListener("pointermove", (event) => tell(event, hit(event)));
  canvas.addEventListener("pointerleave", hideTip);
  canvas.addEventListener("blur", hideTip);
  canvas.addEventListener("click", (event) => findToken(hit(event).token));
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], Enter: [0, 0] }[event.key];
    if (!step) return;
    event.preventDefault();
    [token, row] = [within(token + step[0], n), within(row + step[1], sets.length)];
    if (event.key === "Enter") {
      findToken(token);
      return;
    }
    const box = canvas.getBoundingClientRect();
    const place = { clientX: box.left + ((token + 0.5) / n) * box.width, clientY: box.top + ((row + 1) / sets.length) * box.height };
    tell(place, { token, set: sets[row] });
  });
}

function columnShares(isKept, n, nColumns, columnOf) {
  const sums = new Float32Array(nColumns);
  const counts = new Uint16Array(nColumns);
  for (let token = 0; token < n; token++) {
    const column = columnOf(token);
    counts[column] += 1;
    if (isKept(token)) sums[column] += 1;
  }
  return sums.map((sum, column) => sum / counts[column]);
}

function mapColour(a, b, isTwo, colours) {
  const mixed = (rgb, share) => rgb.map((x, k) => Math.round(colours.none[k] + (x - colours.none[k]) * share));
  if (!isTwo) return mixed(colours.first, a);
  if (a > 0 && b > 0 && Math.abs(a - b) < 0.5) return mixed(colours.both, Math.max(a, b));
  return a >= b ? mixed(colours.first, a) : mixed(colours.second, b);
}

/** Brackets above the map. */
function spanBrackets(width) {
  const drawing = svg("svg", { viewBox: `0 0 ${width} 22`, width, height: 22, "aria-hidden": "true" });
  const n = tokenCase().n_tokens;
  let last = -Infinity;
  for (const span of markedSpans()) {
    const [start, end] = [(span.begin / n) * width, (Math.min(span.end, n) / n) * width];
    const colour = `var(--${{ needle: "needle", question: "question", other: "faint" }[spanClass(span.name)]})`;
    drawing.append(
      svg("path", { d: `M${start} 22V18H${Math.max(end, start + 2)}V22`, stroke: colour, fill: "none", "stroke-width": 1.5 }),
    );
    if (start - last < 60) continue;
    last = start;
    const middle = (start + end) / 2;
    drawing.append(
      label(Math.min(middle, width - 4), 13, span.name, {
        "text-anchor": middle > width - 40 ? "end" : middle < 30 ? "start" : "middle",
        style: `fill:${colour};font-weight:600`,
      }),
    );
  }
  return drawing;
}

/** Each word of the needle with the number of sets that keep it: what is left of the fact. */
function renderSpanWords() {
  const { texts, n_tokens: n } = tokenCase();
  const span = markedSpans().find(({ name }) => name.includes("needle"));
  const box = byId("token-facts");
  box.replaceChildren();
  if (!texts || !span) return;
  const count = (shares, i) => Math.round(shares[i] * tokenView.nSets);
  const word = (i) => {
    const kept = count(tokenView.first, i);
    return html("span", { class: kept ? "kept-word" : "lost-word" }, texts[i].trim() || "⏎", html("sub", {}, String(kept)));
  };
  const places = [...Array(Math.min(span.end, n) - span.begin).keys()].slice(0, MOST_SPAN_WORDS).map((i) => span.begin + i);
  box.append(
    `Of the ${span.name} ${nameOf(state.first)} keeps, in so many of ${counted(tokenView.nSets, "set")}: `,
    ...places.flatMap((i) => [word(i), " "]),
    span.end - span.begin > MOST_SPAN_WORDS ? "…" : "",
  );
}

function renderStatistics() {
  const { first, second } = tokenView;
  const n = tokenCase().n_tokens;
  const mean = (shares, from, to) => shares.subarray(from, to).reduce((sum, share) => sum + share, 0) / (to - from);
  const other = (text) => html("span", { style: "color:rgb(var(--other))" }, text);
  const row = (name, from, to) =>
    to > from
      ? html(
          "tr",
          {},
          html("td", {}, name),
          html("td", {}, percent(mean(first, from, to)), second ? [" ", other(percent(mean(second, from, to)))] : null),
        )
      : null;
  const count = (name, test) => html("tr", {}, html("td", {}, name), html("td", {}, counted([...first].filter(test).length, "token")));
  let [common, either] = [0, 0];
  if (second)
    for (let i = 0; i < n; i++) {
      common += Math.min(first[i], second[i]);
      either += Math.max(first[i], second[i]);
    }
  tokenView.statistics.replaceChildren(
    html(
      "tr",
      {},
      html("td", { class: "quiet" }, "kept of"),
      html(
        "td",
        {},
        html("span", { style: "color:rgb(var(--keep))" }, nameOf(state.first)),
        second ? [line(), other(nameOf(state.second))] : null,
      ),
    ),
    ...[
      row("all tokens", 0, n),
      ...markedSpans().map((span) => row(span.name, span.begin, Math.min(span.end, n))),
      row("first 4", 0, Math.min(4, n)),
      row("last 64", Math.max(0, n - 64), n),
      count("in every set", (share) => share > 0.999),
      count("in no set", (share) => share < 1e-6),
      second ? html("tr", {}, html("td", {}, "in common"), html("td", {}, percent(common / either))) : null,
    ].filter(Boolean),
  );
}

function renderTokenKey() {
  const swatch = (colour) => html("i", { style: `flex-basis:26px;background:${colour}` });
  const entries = tokenView.second
    ? [
        legend(swatch("rgba(var(--keep),.5)"), html("span", {}, `more by ${nameOf(state.first)}`)),
        legend(swatch("rgba(var(--other),.5)"), html("span", {}, `more by ${nameOf(state.second)}`)),
        legend(swatch("rgba(128,128,128,.3)"), html("span", {}, "by both alike")),
      ]
    : [
        legend(
          html("span", {}, "kept in few"),
          html("i", { style: "flex-basis:70px;background:linear-gradient(90deg,rgba(var(--keep),.1),rgba(var(--keep),.5))" }),
          html("span", {}, "all sets"),
        ),
      ];
  const { answer } = tokenCase();
  tokenView.key.replaceChildren(
    ...entries,
    legend(html("span", { class: "faint" }, "pale text: evicted everywhere")),
    ...(answer
      ? [html("h3", {}, "What the model wrote with the full cache"), html("p", { class: "answer" }, answer)]
      : []),
  );
}

async function renderTokens() {
  if (!meta.tokens.cases.length) {
    sayHowToAddTokens();
    return;
  }
  tokenArrays ??= await ArrayStore.from("token-arrays", meta.tokens.arrays);
  if (tokenView?.caseIndex !== tokenCase().case) makeTokenView();
  const missing = missingSets();
  tokenView.grid.hidden = Boolean(missing);
  byId("token-facts").replaceChildren();
  if (missing) {
    tokenView.map.replaceChildren(html("p", { class: "hint" }, missing));
    return;
  }
  const sets = chosenSets(tokenCase());
  const isTwo = state.tokenMode === "both" && isPair() && tokenCase().policies.includes(state.second);
  tokenView.first = keptShares(state.first, sets);
  tokenView.second = isTwo ? keptShares(state.second, sets) : null;
  tokenView.nSets = sets.length;
  const n = tokenCase().n_tokens;
  const rows =
    state.tokenLayer < 0
      ? `Rows: ${sets.length} layer × KV head sets, from layer ${meta.layers[sets[0].layer]} to ${meta.layers[sets.at(-1).layer]} down; `
      : `Rows: ${counted(sets.length, "KV head")} of layer ${meta.layers[state.tokenLayer]}; `;
  tokenView.map.replaceChildren(
    spanBrackets(tokenView.map.clientWidth || 900),
    tokenMap(sets),
    html("p", { class: "hint" }, `${rows}columns: ${n} tokens. Click to find a token in the text.${thinnedText()}`),
  );
  shadeText();
  renderSpanWords();
  renderStatistics();
  renderTokenKey();
}
