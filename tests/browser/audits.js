// What is measured on any page. Each returns what is wrong, in words.

/** Missing figures that were written out, in texts and in attributes of drawings. Notes of `compare` may name them. */
function nonsense() {
  const body = document.body.cloneNode(true);
  for (const element of all("script, #origin details", body)) element.remove();
  return [...body.outerHTML.matchAll(/.{0,60}\b(NaN|undefined|Infinity)\b.{0,20}/g)].map(([found]) => found);
}

const described = (element) => `${element.tagName.toLowerCase()}${element.id ? `#${element.id}` : ""} “${(element.textContent ?? "").trim().slice(0, 40)}”`;

const controls = () => all("button, select, input, a[href], summary, [tabindex]").filter(isVisible);

function unlabelled() {
  const nameOfControl = (element) =>
    element.getAttribute("aria-label") || element.closest("label")?.textContent.trim() || (/^(A|BUTTON|SUMMARY)$/.test(element.tagName) && element.textContent.trim());
  const dangling = all("[aria-labelledby], [for]").filter((element) => {
    const id = element.getAttribute("aria-labelledby") ?? element.getAttribute("for");
    return !byId(id);
  });
  const drawings = all("svg, canvas").filter(
    (element) =>
      !element.closest("[aria-hidden=true]") && !(element.getAttribute("role") === "img" && element.getAttribute("aria-label")),
  );
  const ids = all("[id]").map(({ id }) => id);
  return [
    ...controls().filter((element) => !nameOfControl(element)).map((element) => `no label: ${described(element)}`),
    ...dangling.map((element) => `label of nothing: ${described(element)}`),
    ...drawings.map((element) => `drawing without a label: ${described(element.parentElement)}`),
    ...ids.filter((id, i) => ids.indexOf(id) !== i).map((id) => `id that repeats: ${id}`),
  ];
}

/** Controls that Tab does not reach, or without a ring when it does. */
function unreachable() {
  const wrong = [];
  for (const element of controls().filter((each) => !each.disabled)) {
    if (element.tabIndex !== 0) wrong.push(`out of the order: ${described(element)}`);
    element.focus();
    if (document.activeElement !== element) wrong.push(`takes no focus: ${described(element)}`);
    else if (parseFloat(getComputedStyle(element).outlineWidth) < 1) wrong.push(`no ring: ${described(element)}`);
  }
  return wrong;
}

/** Clicks that only a pointer can make. */
const pointerOnly = () =>
  all("*")
    .filter((element) => element.onclick && isVisible(element))
    .filter((element) => !element.matches("button, a, summary") && !element.querySelector("button, a"))
    .map(described);

const overflow = () => root.scrollWidth - root.clientWidth;

/** Texts of drawings that end outside of them, and cells whose text runs into the next. */
function cutOff() {
  const isInside = (inner, outer) => inner.left >= outer.left - 1 && inner.right <= outer.right + 1 && inner.top >= outer.top - 1 && inner.bottom <= outer.bottom + 1;
  const inDrawings = all("svg text").filter(
    (element) => element.textContent && isVisible(element) && !isInside(element.getBoundingClientRect(), element.ownerSVGElement.getBoundingClientRect()),
  );
  const inCells = all("#ranking :is(td, th)").filter((cell) => {
    const range = document.createRange();
    range.selectNodeContents(cell);
    const [inner, outer] = [range.getBoundingClientRect(), cell.getBoundingClientRect()];
    return !cell.matches(".name") && isVisible(cell) && !cell.querySelector(".hidden") && inner.right > outer.right + 1;
  });
  return [...inDrawings, ...inCells].map(described);
}

// Contrast as WCAG 2.2 has it.

const rgba = (colour) => {
  const [r, g, b, a = 1] = colour.match(/[\d.]+/g).map(Number);
  return /^color\(srgb/.test(colour) ? [255 * r, 255 * g, 255 * b, a] : [r, g, b, a];
};
const over = ([r, g, b, a], under) => [r, g, b].map((x, i) => x * a + under[i] * (1 - a));
const luminance = (rgb) => {
  const [r, g, b] = rgb.map((x) => (x / 255 <= 0.04045 ? x / 255 / 12.92 : ((x / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const contrast = (one, other) => {
  const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
};

/** The colour under an element: its ancestors', from the page up. */
function ground(element) {
  const layers = [];
  for (let each = element; each; each = each.parentElement) layers.push(rgba(getComputedStyle(each).backgroundColor));
  return layers.reverse().reduce((under, layer) => over(layer, under), [255, 255, 255]);
}

/** That, or the last box drawn before a text of a drawing and under it. */
function groundOfText(element) {
  const under = ground(element.ownerSVGElement);
  const [x, y] = middle(element);
  const boxes = all("rect", element.ownerSVGElement).filter((rect) => {
    const box = rect.getBoundingClientRect();
    const isBefore = rect.compareDocumentPosition(element) & Node.DOCUMENT_POSITION_FOLLOWING;
    return isBefore && box.left <= x && x <= box.right && box.top <= y && y <= box.bottom && /^rgb/.test(getComputedStyle(rect).fill);
  });
  return boxes.reduce((colour, rect) => over(rgba(getComputedStyle(rect).fill), colour), under);
}

const opacity = (element) => (element ? Number(getComputedStyle(element).opacity) * opacity(element.parentElement) : 1);

/** Every text that is shown and has less contrast than AA asks for. */
function pale() {
  const hasText = (element) => [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
  const isExempt = (element) => element.closest("#tip, :disabled, option, .hidden, .skip");
  const wrong = [];
  for (const element of all("body *").filter((each) => (hasText(each) || each.placeholder) && isVisible(each) && !isExempt(each))) {
    if (/^(SCRIPT|STYLE|NOSCRIPT|TITLE|title)$/.test(element.tagName)) continue;
    const isDrawn = Boolean(element.ownerSVGElement);
    const style = getComputedStyle(element, element.placeholder ? "::placeholder" : null);
    const under = isDrawn ? groundOfText(element) : ground(element);
    const [r, g, b, a] = rgba(isDrawn ? style.fill : style.color);
    const ratio = contrast(over([r, g, b, a * opacity(element)], under), under);
    const size = parseFloat(style.fontSize);
    const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (isLarge ? 3 : 4.5)) wrong.push(`${ratio.toFixed(2)}: ${described(element)} ${style.color} ${isDrawn ? style.fill : ""}`);
  }
  return wrong;
}
