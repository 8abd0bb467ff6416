// Figures as people read them.

const NOTHING = "–";
const isMissing = (value) => value == null || Number.isNaN(value);

/** Three significant digits. */
function formatted(value) {
  if (isMissing(value)) return NOTHING;
  const size = Math.abs(value);
  if (value === 0) return "0";
  if (size >= 1e6) return `${(value / 1e6).toPrecision(3)}M`;
  if (size >= 1e4) return `${(value / 1e3).toPrecision(3)}k`;
  if (size >= 1000) return value.toFixed(0);
  if (size < 1e-3) return value.toExponential(1).replace("e-", "e−");
  return value.toPrecision(3);
}

function percent(share) {
  if (isMissing(share)) return NOTHING;
  if (share >= 0.9995) return "100 %";
  return `${(share * 100).toFixed(share >= 0.0995 ? 0 : 1)} %`;
}

/** For axes: no zeros behind the point. */
const tickText = (value) =>
  formatted(value)
    .replace(/(\.\d*?)0+(?=$|k|M|e)/, "$1")
    .replace(/\.(?=$|k|M|e)/, "");

/** "4.0×" */
const times = (ratio) => `${ratio < 100 ? ratio.toPrecision(2) : ratio.toFixed(0)}×`;

const tickPercent = (share) => percent(share).replace(".0 ", " ");

function bytesText(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const unit = Math.max(0, Math.min(4, Math.floor(Math.log2(value) / 10)));
  return `${unit ? (value / 2 ** (10 * unit)).toPrecision(3) : value.toFixed(0)} ${units[unit]}`;
}

/** "Output error" inside a sentence; names such as "KL" and "Jacobian" keep their capitals. */
const lowered = (text) => (/^(?!Jacobian)[A-Z][a-z]/.test(text) ? text[0].toLowerCase() + text.slice(1) : text);
const capitalised = (text) => text[0].toUpperCase() + text.slice(1);
const counted = (n, one, many = `${one}s`) => `${n} ${n === 1 ? one : many}`;
const shortened = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);

/** Budget b as it is called: "10 %", "256 tokens". */
function budgetText(b = state.budget) {
  const value = meta.budgets.values[b];
  return meta.budgets.kind === "tokens" ? counted(value, "token") : tickPercent(value);
}
