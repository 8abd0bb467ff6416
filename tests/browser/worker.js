// Appended to a copy of a report: works the page as a reader would, and leaves what it found in an attribute.
(async () => {
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const textOf = (element) => element?.innerText ?? element?.textContent ?? "";
  const text = (selector) => textOf(document.querySelector(selector));
  /** Changes are drawn a moment later. */
  const drawn = () => new Promise((done) => setTimeout(done, 200));
  const press = (element) => {
    element.click();
    return drawn();
  };
  const enter = (id, value, kind) => {
    byId(id).value = value;
    byId(id).dispatchEvent(new Event(kind, { bubbles: true }));
    return drawn();
  };
  const type = (id, value) => enter(id, value, "input");
  const choose = (id, value) => enter(id, value, "change");
  const key = (name, element = document.activeElement) => {
    element.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true }));
    return drawn();
  };
  const pointer = (kind, element, x, y) =>
    element.dispatchEvent(new PointerEvent(kind, { clientX: x, clientY: y, pointerId: 1, bubbles: true }));
  const middle = (element) => {
    const box = element.getBoundingClientRect();
    return [box.left + box.width / 2, box.top + box.height / 2];
  };
  /** Of the chart, one for each policy. */
  const curves = () => all("#chart path:is(.context, .reference, .pinned)");
  const isVisible = (element) => element.checkVisibility({ visibilityProperty: true });

  // AUDITS

  const work = async (report) => {
    // STEPS
  };

  const result = { error: null, found: null };
  try {
    if (WAITS && !root.dataset.ready)
      await new Promise((done) => new MutationObserver(done).observe(root, { attributeFilter: ["data-ready"] }));
    await drawn();
    result.found = (await work(window.kvreplayReport)) ?? null;
    result.loaded = performance.getEntriesByType("resource").map((entry) => entry.name);
    result.nonsense = nonsense();
  } catch (error) {
    result.error = String(error.stack ?? error);
  }
  if (parent === window) root.dataset.found = JSON.stringify(result);
  else parent.postMessage(JSON.stringify(result), "*");
})();
