// What the page is about: names and texts as JSON, figures as coded arrays (analysis/report/coded_arrays.h).

const meta = JSON.parse(document.getElementById("meta").textContent);
const nPolicies = meta.policies.length;
const nBudgets = meta.budgets.values.length;
const nLayers = meta.layers.length;
const SMALLEST_FIRST = [...meta.budgets.values.keys()].sort(
  (a, b) => meta.budgets.values[a] - meta.budgets.values[b],
);

/** An array with its shape; at(1, 2) is row-major. */
class Figures {
  constructor(values, shape) {
    this.values = values;
    this.shape = shape;
  }

  at(...place) {
    return this.values[place.reduce((index, i, axis) => index * this.shape[axis] + i, 0)];
  }
}

/** 16-bit codes to figures; `low` and `high` are the bytes of the codes. */
function decode(entry, low, high) {
  const isCode = entry.coding === "codes";
  const values = isCode ? new Uint16Array(low.length) : new Float32Array(low.length);
  const span = entry.high - entry.low;
  for (let i = 0; i < low.length; i++) {
    const code = low[i] | (high[i] << 8);
    if (isCode) values[i] = code;
    else if (code === 65535) values[i] = NaN;
    else if (entry.coding === "linear") values[i] = entry.low + (span * code) / 65534;
    else values[i] = code === 0 ? 0 : Math.exp(entry.low + (span * (code - 1)) / 65533);
  }
  return new Figures(values, entry.shape);
}

/** Arrays of one element of the page, each decoded when it is first asked for. */
class ArrayStore {
  constructor(index, bytes) {
    this.index = index;
    this.bytes = bytes;
    this.decoded = new Map();
  }

  static async from(elementId, index) {
    const packed = document.getElementById(elementId).textContent.trim();
    if (!packed) return new ArrayStore({}, new Uint8Array());
    const gzip = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
    const unpacked = new Response(gzip).body.pipeThrough(new DecompressionStream("gzip"));
    return new ArrayStore(index, new Uint8Array(await new Response(unpacked).arrayBuffer()));
  }

  has(name) {
    return name in this.index;
  }

  get(name) {
    if (!this.decoded.has(name)) {
      const entry = this.index[name];
      const n = entry.shape.reduce((product, extent) => product * extent, 1);
      const low = this.bytes.subarray(entry.at, entry.at + n);
      const high = this.bytes.subarray(entry.at + n, entry.at + 2 * n);
      this.decoded.set(name, decode(entry, low, high));
    }
    return this.decoded.get(name);
  }
}

const metricOf = (key) => meta.metrics.find((metric) => metric.key === key);
const policyCalled = (name) => meta.policies.findIndex((policy) => policy.name === name);
const nameOf = (policy) => meta.policies[policy].name;
const isContestant = new Set(meta.contestants);
const oracle = meta.marks.oracle;
const random = meta.marks.random;
const references = meta.policies.flatMap((policy, p) => (policy.reference === "oracle" ? [p] : []));
