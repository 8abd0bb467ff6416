// Elements, scales, colours. Texts become text nodes, never markup: names of policies and prompts may hold anything.

const SVG = "http://www.w3.org/2000/svg";
const byId = (id) => document.getElementById(id);

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value == null || value === false) continue;
    if (name.startsWith("on")) element[name] = value;
    else if (name === "style") element.style.cssText = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child != null && child !== false && child !== ""));
  return element;
}

/** html("p", {class: "hint"}, "text", anotherElement) */
const html = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
const label = (x, y, text, attributes = {}) => svg("text", { x, y, ...attributes }, String(text));

/** A drawing that screen readers hear as one picture. */
const picture = (width, height, description, ...children) =>
  svg(
    "svg",
    { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": description },
    ...children,
  );

/** "M1 2L3 4": gaps where a point is null. */
function pathThrough(points) {
  let path = "";
  let isDown = false;
  for (const point of points) {
    if (point) path += `${isDown ? "L" : "M"}${point[0].toFixed(1)} ${point[1].toFixed(1)}`;
    isDown = Boolean(point);
  }
  return path;
}

function linearScale(from, to, start, end) {
  const width = to - from || 1;
  return (value) => start + ((value - from) / width) * (end - start);
}

function logScale(from, to, start, end) {
  const scale = linearScale(Math.log(from), Math.log(to), start, end);
  return (value) => scale(Math.log(value));
}

function logTicks(from, to, few = false) {
  const decades = Math.log10(to / from);
  const steps = decades > (few ? 2 : 3.2) ? [1] : decades > 1.3 ? [1, 3] : [1, 2, 5];
  const ticks = [];
  for (let e = Math.floor(Math.log10(from)); e <= Math.ceil(Math.log10(to)); e++)
    for (const step of steps) ticks.push(step * 10 ** e);
  return ticks.filter((tick) => tick >= from * 0.999 && tick <= to * 1.001);
}

function linearTicks(from, to, n = 5) {
  const rough = (to - from || 1) / n;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= rough) * power;
  const ticks = [];
  for (let tick = Math.ceil(from / step) * step; tick <= to + step * 1e-6; tick += step)
    ticks.push(Math.abs(tick) < step * 1e-6 ? 0 : tick);
  return ticks;
}

/** Moves labels apart, at least `gap` between two, none below `floor`. Each has `wanted`, and gets `y`. */
function spread(labels, gap, floor) {
  labels.sort((a, b) => a.wanted - b.wanted);
  let last = -Infinity;
  for (const each of labels) last = each.y = Math.max(each.wanted, last + gap);
  for (const each of [...labels].reverse()) {
    if (each.y <= floor) break;
    each.y = floor;
    floor -= gap;
  }
  return labels;
}

const cssValue = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const rgbOfHex = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

/** From a list of colours in the style sheet: a function of [0, 1] to [r, g, b]. */
function ramp(name) {
  const colours = cssValue(name).split(",").map((hex) => rgbOfHex(hex.trim()));
  return (share) => {
    const place = Math.min(1, Math.max(0, share)) * (colours.length - 1);
    const i = Math.min(colours.length - 2, Math.floor(place));
    return colours[i].map((x, k) => Math.round(x + (colours[i + 1][k] - x) * (place - i)));
  };
}

const rgbText = (rgb) => `rgb(${rgb.join(",")})`;

/** Black or white, whichever has more contrast: 4.5 : 1 or better on any colour. */
function inkOn(rgb) {
  const [r, g, b] = rgb.map((x) => (x / 255 <= 0.04045 ? x / 255 / 12.92 : ((x / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000" : "#fff";
}

/** Mixed from a ramp, for a legend. */
const gradient = (colours) =>
  `background:linear-gradient(90deg,${[0, 0.2, 0.4, 0.6, 0.8, 1].map((t) => rgbText(colours(t))).join(",")})`;

// The one tip.

function showTip(event, ...content) {
  const tip = byId("tip");
  tip.replaceChildren(...content.flat());
  tip.style.opacity = 1;
  const left = Math.min(innerWidth - tip.offsetWidth - 8, event.clientX + 14);
  const isBelow = event.clientY + 18 + tip.offsetHeight <= innerHeight;
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${Math.max(4, isBelow ? event.clientY + 18 : event.clientY - tip.offsetHeight - 12)}px`;
}

const hideTip = () => {
  byId("tip").style.opacity = 0;
};

const strong = (text) => html("b", {}, text);
const quiet = (text) => html("span", { class: "quiet" }, text);
const line = () => html("br");
