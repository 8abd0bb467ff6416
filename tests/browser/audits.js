// What is measured on any page. Each returns what is wrong, in words.

/** Missing figures that were written out, in texts and in attributes of drawings. Notes of `compare` may name them. */
function nonsense() {
  const body = document.body.cloneNode(true);
  for (const element of all("script, #origin details", body)) element.remove();
  return [...body.outerHTML.matchAll(/.{0,60}\b(NaN|undefined|Infinity)\b.{0,20}/g)].map(([found]) => found);
}

function described(element) {
  const name = element.id ? `${element.tagName.toLowerCase()}#${element.id}` : element.tagName.toLowerCase();
  return `${name} “${element.textContent.trim().slice(0, 40)}”`;
}

const controls = () => all("button, select, input, a[href], summary, [tabindex]").filter(isVisible);

function unlabelled() {
  const nameOfControl = (element) =>
    element.getAttribute("aria-label") ||
    element.closest("label")?.textContent.trim() ||
    (element.matches("a, button, summary") && element.textContent.trim());
  const dangling = all("[aria-labelledby], [for]").filter((element) => {
    const id = element.getAttribute("aria-labelledby") ?? element.getAttribute("for");
    return !byId(id);
  });
  const isPicture = (element) => element.matches("[role=img][aria-label]:not([aria-label=''])");
  const drawings = all("svg, canvas").filter((element) => !element.closest("[aria-hidden=true]") && !isPicture(element));
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
    else if (getComputedStyle(element).outlineStyle === "none") wrong.push(`no ring: ${described(element)}`);
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
  const isInside = (element, around) => {
    const [inner, outer] = [element.getBoundingClientRect(), around.getBoundingClientRect()];
    const isBeside = inner.left < outer.left - 1 || inner.right > outer.right + 1;
    return !isBeside && inner.top >= outer.top - 1 && inner.bottom <= outer.bottom + 1;
  };
  const inDrawings = all("svg text").filter(
    (element) => element.textContent && isVisible(element) && !isInside(element, element.ownerSVGElement),
  );
  const inCells = all("#ranking :is(td, th)").filter((cell) => {
    const range = document.createRange();
    range.selectNodeContents(cell);
    const [inner, outer] = [range.getBoundingClientRect(), cell.getBoundingClientRect()];
    return !cell.matches(".name") && isVisible(cell) && !cell.querySelector(".hidden") && inner.right > outer.right + 1;
  });
  return [...inDrawings, ...inCells].map(described);
}
