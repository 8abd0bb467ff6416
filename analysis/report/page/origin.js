// View 6: where the figures come from, and what they cannot say.

function originTable() {
  const { origin, model } = meta;
  const row = (name, ...content) => html("tr", {}, html("td", {}, name), html("td", {}, ...content));
  const lines = (items) => items.flatMap((item, i) => (i ? [line(), item] : [item])).flat();
  const cases =
    meta.cases.length > 8
      ? [`${counted(meta.cases.length, "case")} of ${counted(meta.samples.length, "sample")}`]
      : lines(
          meta.cases.map(
            (each) => `${each.label} (${each.n_candidates} tokens up for eviction, ${counted(each.n_queries, "query", "queries")})`,
          ),
        );
  const code = (text) => html("code", {}, text);
  return html(
    "table",
    {},
    row("Model", `${model.id}, ${counted(model.n_q_heads, "query head")} on ${counted(model.n_kv_heads, "KV head")}`),
    row("Layers", `${nLayers} of ${model.n_layers ?? "?"}: ${meta.layers.join(", ")}`),
    row("Cases", ...cases),
    row("Traces", ...origin.traces.flatMap(({ name, fingerprint }, i) => [i ? line() : "", `${name}, fingerprint `, code(fingerprint)])),
    row(
      "Results",
      ...origin.files.flatMap(({ name, bytes, fingerprint }, i) => [
        i ? line() : "",
        `${name}, ${bytesText(bytes)}, fingerprint `,
        code(fingerprint),
      ]),
    ),
    row("Made by", `${origin.creator}, ${origin.format}, backend ${origin.backend}, seed ${origin.seed}`),
    origin.command ? row("Again", code(origin.command), line(), code("kvreplay report RESULTS --output REPORT")) : "",
    origin.date ? row("Date", origin.date) : "",
  );
}

function leftOutList() {
  if (!meta.left_out.length) return [];
  const item = ({ policy, metric, case: label, layer, why }) => {
    const where = label ? ` in ${label}${layer === undefined ? "" : `, layer ${layer}`}` : "";
    return html("li", {}, strong(policy ?? metric), `${where}: ${why}`);
  };
  return [
    html(
      "details",
      {},
      html("summary", {}, `Left out (${meta.left_out.length})`),
      html("ul", {}, meta.left_out.map(item)),
    ),
  ];
}

function noteList() {
  const groups = Map.groupBy
    ? Map.groupBy(meta.notes, (note) => note.metric || "General")
    : meta.notes.reduce((map, note) => {
        const key = note.metric || "General";
        return map.set(key, [...(map.get(key) ?? []), note]);
      }, new Map());
  return [...groups].map(([name, notes]) =>
    html(
      "details",
      { open: name === "General" },
      html("summary", {}, `${name} (${notes.length})`),
      html("ul", {}, notes.map((note) => html("li", {}, note.text))),
    ),
  );
}

function limits() {
  const layers = meta.headline.includes("predicted_kl")
    ? "; predicted KL takes all layers together, to second order"
    : "";
  return [
    "Task accuracy and generated text.",
    `Errors that compound: every layer is measured with the inputs of the uncompressed run${layers}.`,
    "Feedback while decoding beyond what was recorded; latency on a server.",
  ];
}

function renderOrigin() {
  const parameters = meta.policies.map(({ name, parameters: text }) => `${name}\n    ${text}`).join("\n");
  byId("provenance").replaceChildren(
    html(
      "div",
      {},
      originTable(),
      html("details", {}, html("summary", {}, "Every policy's parameters"), html("pre", {}, parameters)),
      ...leftOutList(),
    ),
    html(
      "div",
      {},
      html("h3", {}, "What replay cannot see"),
      html("ul", {}, limits().map((text) => html("li", {}, text))),
      html("h3", {}, `Notes on the figures at “${meta.points.at(-1).name}” (${meta.notes.length})`),
      ...noteList(),
    ),
  );
}
