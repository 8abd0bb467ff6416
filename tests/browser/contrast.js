// Contrast of texts as WCAG 2.2 has it.

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
    const isUnder = box.left <= x && x <= box.right && box.top <= y && y <= box.bottom;
    return isBefore && isUnder && /^rgb/.test(getComputedStyle(rect).fill);
  });
  return boxes.reduce((colour, rect) => over(rgba(getComputedStyle(rect).fill), colour), under);
}

const opacity = (element) => (element ? Number(getComputedStyle(element).opacity) * opacity(element.parentElement) : 1);

/** Every text that is shown and has less contrast than AA asks for. */
function pale() {
  const isText = (node) => node.nodeType === Node.TEXT_NODE && node.data.trim();
  const hasText = (element) => [...element.childNodes].some(isText) || element.placeholder;
  const isExempt = (element) => element.closest("#tip, :disabled, option, .hidden, .skip");
  const wrong = [];
  for (const element of all("body *").filter((each) => hasText(each) && isVisible(each) && !isExempt(each))) {
    if (/^(SCRIPT|STYLE|NOSCRIPT|TITLE|title)$/.test(element.tagName)) continue;
    const isDrawn = Boolean(element.ownerSVGElement);
    const style = getComputedStyle(element, element.placeholder ? "::placeholder" : null);
    const under = isDrawn ? groundOfText(element) : ground(element);
    const [r, g, b, a] = rgba(isDrawn ? style.fill : style.color);
    const ratio = contrast(over([r, g, b, a * opacity(element)], under), under);
    const size = parseFloat(style.fontSize);
    const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const colours = `${isDrawn ? style.fill : style.color} on rgb(${under.map(Math.round)})`;
    if (ratio < (isLarge ? 3 : 4.5)) wrong.push(`${ratio.toFixed(2)}: ${described(element)}, ${colours}`);
  }
  return wrong;
}
