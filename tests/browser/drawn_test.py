"""What a report draws, of every measure, point and layer."""

COUNTS = """
  const { meta, state } = report;
  const found = [];
  for (const point of meta.points.keys()) {
    await choose("point", point);
    found.push({
      lines: curves().length,
      drawn: curves().filter((path) => path.getAttribute("d")).length,
      rows: all("#ranking tbody tr").length,
      ranks: all("#ranking td.rank").map((cell) => cell.textContent).filter(Boolean),
      cells: all("#heat .panel:first-child rect:not(.cursor)").length,
      panels: all("#heat .panel").length,
      cards: all(".card").length,
      values: all("#ranking .bar b").map((value) => value.innerText.replace("≈ ", "")),
    });
  }
  return {
    found,
    contestants: meta.contestants.length,
    oracles: meta.policies.filter(({ reference }) => reference === "oracle").length,
    heads: meta.model.n_q_heads,
    layers: meta.layers.length,
    sections: all("main section").filter(isVisible).map(({ id }) => id),
  };
"""


def test_a_page_may_load_nothing(chromium, samples):
    """What it tries in spite of that stands on the console, for which chromium.visit fails."""
    seen = chromium.visit(
        samples.page,
        """
        const policies = all("head > meta[http-equiv=Content-Security-Policy]");
        const links = all("[src], [href], [srcset], [data], [action]").map((element) => element.outerHTML);
        return { policies: policies.map(({ content }) => content), links, style: all("style").map(textOf).join() };
        """,
    )
    (policy,) = seen["policies"]
    allowed = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert allowed.pop("default-src") == "'none'"
    assert allowed == {"style-src": "'unsafe-inline'", "script-src": "'unsafe-inline'", "img-src": "data: blob:"}
    assert [link for link in seen["links"] if 'href="#' not in link] == []
    assert "url(" not in seen["style"] and "@import" not in seen["style"]


def test_every_contestant_and_oracle_has_a_line_and_a_row(chromium, either):
    seen = chromium.visit(either.page, COUNTS)
    n = seen["contestants"] + seen["oracles"]
    assert seen["oracles"] >= 1
    for of_point in seen["found"]:
        assert of_point["lines"] == of_point["drawn"] == of_point["rows"] == n
        assert of_point["ranks"] == [str(rank + 1) for rank in range(seen["contestants"])]
        assert of_point["cells"] == seen["layers"] * seen["heads"]
        assert of_point["panels"] == 3
        assert of_point["cards"] == 4
        assert "–" not in of_point["values"]
    assert seen["sections"] == ["answer", "curves", "where", "tokens", "surrogates", "origin"]


def test_every_measure_is_drawn_at_every_point_and_layer_without_an_error(chromium, samples):
    """chromium.visit fails for errors, for what is loaded and for missing figures that are written out."""
    tried = chromium.visit(
        samples.page,
        """
        const { meta, state, render } = report;
        const values = (id) => all("option", byId(id)).map(({ value }) => value);
        let tried = 0;
        const wrong = [];
        for (const metric of values("metric"))
          for (const point of values("point"))
            for (const layer of values("layer").slice(0, 2)) {
              Object.assign(state, { metric, point: Number(point), layer: Number(layer) });
              render();
              await drawn();
              tried += 1;
              wrong.push(...nonsense());
              const isBlank = !all("#chart svg").length && !text("#chart").includes("no values here");
              if (isBlank) wrong.push(`blank: ${metric}`);
            }
        for (const [id, kind] of [["x-axis"], ["heat-metric"], ["truth"], ["first"]])
          for (const value of values(id).slice(0, 8)) {
            await choose(id, value);
            tried += 1;
            wrong.push(...nonsense());
          }
        for (const id of ["log-x", "log-y"]) {
          await press(byId(id));
          wrong.push(...nonsense());
        }
        return { tried, wrong };
        """,
    )
    assert tried["wrong"] == []
    assert tried["tried"] > 30
