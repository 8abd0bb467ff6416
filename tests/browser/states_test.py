"""Reports of results that lack something, or hold what nobody expects: each says what there is, and breaks nowhere.

chromium.visit fails for errors, for what is loaded and for missing figures that are written out.
"""

import csv
import io
from xml.etree import ElementTree

import h5py
import pytest

from tests.browser.pages import BUDGETS, FEW, Report, Workshop
from tests.browser.saving_test import CAPTURE

READ = """
  const seen = {
    h1: text("h1"),
    facts: text("#facts"),
    warnings: text("#caveats"),
    cards: all(".card").map((card) => card.innerText),
    strips: all(".card svg").length,
    marks: all(".card svg text").map(textOf),
    lines: curves().filter((path) => path.getAttribute("d").includes("L")).length,
    dots: all("#chart g circle").length,
    bands: all("#chart g path[opacity='0.13']").length,
    labels: all("#chart text.lab").map(textOf),
    zone: all("#chart rect").some((rect) => rect.getAttribute("fill") === "url(#hatch)"),
    rows: all("#ranking tbody tr").map((row) => row.innerText),
    names: all("#ranking td.name").map((cell) => cell.innerText.trim()),
    intervals: all("#ranking .bar u").length,
    ties: all("#ranking .bar b span").length,
    panels: all("#heat h3").map((title) => title.innerText),
    fails: all("#fails h3").map((title) => title.innerText),
    surrogates: text("#agreement"),
    budget: text("#budget-text"),
    slider: byId("budget").disabled,
    measures: all("#metric option").map(({ value }) => value),
    overflow: overflow(),
    cutOff: cutOff(),
    origin: text("#origin"),
  };
"""


def contestants(names: str) -> int:
    return len([name for name in names.split(",") if name != "oracle"])


@pytest.fixture(scope="module")
def trace(chromium, workshop: Workshop):
    return workshop.synthetic("one")


@pytest.fixture(scope="module")
def look(chromium, workshop: Workshop, trace):
    """A replay's report, as it opens."""

    def look(name: str, *options: object, of=trace, then: str = "") -> dict:
        report = workshop.report(workshop.replay(name, of, *options))
        seen = chromium.visit(report.page, f"{READ} {then} return seen;")
        assert seen["overflow"] <= 0
        assert seen["cutOff"] == []
        return seen

    return look


def test_one_policy_has_a_sentence_and_nothing_to_be_held_against(look):
    seen = look("one-policy", "-p", "snapkv:window=16", "-b", BUDGETS)
    assert seen["h1"].startswith("snapkv:window=16 at 10 % of the cache: summed error after W_O ")
    assert seen["strips"] == 0
    assert seen["lines"] == len(seen["rows"]) == 1
    assert [title.split()[0] for title in seen["panels"]] == ["snapkv:window=16"]
    assert seen["surrogates"] == "Rank agreement needs three policies or more."


def test_one_budget_has_dots_and_a_slider_that_stands(look):
    seen = look(
        "one-budget", "-p", FEW, "-b", "0.2",
        then="""
        seen.agreementDots = all("#agreement > .panel circle").length;
        const spans = all("#fails .panel").find((panel) => panel.innerText.includes("marked spans"));
        seen.axis = all("svg > text[text-anchor]", spans).map(textOf).filter((text) => text === "20 %");
        """,
    )  # fmt: skip
    assert seen["lines"] == 0
    assert seen["dots"] >= contestants(FEW) + 1
    assert seen["agreementDots"] >= 4
    assert seen["axis"] == ["20 %"]
    assert seen["slider"]
    assert len(seen["cards"]) == 1
    assert seen["h1"].startswith("Keeping 20 % of the cache, ")


def test_budgets_in_tokens_are_called_tokens(look):
    seen = look("tokens", "-p", FEW, "-b", "16,32,64,128,200")
    assert "200 tokens" in seen["h1"] and "of the cache" not in seen["h1"]
    assert seen["budget"] == "200 tokens"
    kept = [card.split("\n")[0] for card in seen["cards"]]
    assert kept[0] == "keep 16 tokens" and kept[-1] == "keep 200 tokens" and len(kept) == 4
    assert seen["lines"] == contestants(FEW) + 1


def test_one_sample_is_warned_of_and_has_no_intervals(chromium, needle):
    seen = chromium.visit(needle.page, f"{READ} return seen;")
    assert "One sample" in seen["warnings"]
    assert "4 of the model's 30 layers" in seen["warnings"]
    assert "--sensitivity 16" in seen["warnings"]
    assert (seen["bands"], seen["intervals"], seen["ties"]) == (0, 0, 0)
    assert not any("samples" in title for title in seen["fails"])


def test_several_samples_have_intervals_ties_and_a_panel(chromium, samples):
    seen = chromium.visit(
        samples.page,
        f"""{READ}
        seen.tied = all("#ranking tr:has(.bar b span) td.name").map((cell) => cell.innerText.trim());
        seen.contestants = report.meta.contestants.map((p) => report.meta.policies[p].name);
        seen.bandsOfPins = [seen.bands, report.state.pins.length];
        return seen;""",
    )
    assert "One sample" not in seen["warnings"]
    assert seen["bandsOfPins"][0] == seen["bandsOfPins"][1] > 1
    assert seen["intervals"] == len(seen["rows"])
    assert f"with {len(seen['tied'])} other" in seen["h1"]
    assert set(seen["tied"]) < set(seen["contestants"]), "an oracle competes with nobody"
    assert "Worst samples, predicted KL" in seen["fails"]
    assert "Layers add up to the predicted KL" in seen["fails"]


def test_without_an_output_projection_the_measure_is_the_output_error(look, workshop):
    of = workshop.synthetic("without-projection", "--no-output-projection")
    seen = look("without-projection", "-p", FEW, "-b", BUDGETS, of=of)
    assert "output_error" in seen["measures"] and "summed_projected_error" not in seen["measures"]
    assert seen["facts"].startswith("Measured by output error")
    assert "left out: see Origin" in seen["warnings"]


def test_predictions_above_what_was_recorded_are_hatched_and_counted(chromium, workshop, samples):
    path = workshop.folder / "extrapolated.h5"
    path.write_bytes(samples.results.read_bytes())
    with h5py.File(path, "r+") as file:
        file["sensitivity_range"][:] = 0.01
    seen = chromium.visit(workshop.report(path).page, f"{READ} return seen;")
    assert seen["zone"]
    assert "hatched, above 0.0100 nats: extrapolated" in seen["labels"]
    assert f"of {contestants(FEW)} policies are above 0.0100 nats here" in seen["warnings"]
    assert not chromium.visit(samples.page, f"{READ} return seen;")["zone"]


def test_without_oracle_and_random_nothing_is_said_of_them(look):
    seen = look("no-references", "-p", "snapkv:window=16,h2o,knorm", "-b", BUDGETS)
    assert not any("oracle" in text or "random" in text for text in [*seen["cards"], *seen["marks"], *seen["labels"]])
    assert seen["lines"] == len(seen["rows"]) == 3


def test_a_hundred_policies_are_all_in_a_table_that_scrolls(look):
    names = ",".join(f"snapkv:window={window}" for window in range(1, 101))
    words = [word for name in names.split(",") for word in ("-p", name)]
    seen = look(
        "hundred",
        *words,
        "-b",
        BUDGETS,
        then="""
        seen.height = document.querySelector(".scroll").clientHeight;
        await type("find", "window=100");
        seen.found = all("#ranking td.name").map((cell) => cell.innerText.trim());
        """,
    )
    assert seen["lines"] == len(seen["rows"]) == 100
    assert seen["height"] < 700
    assert seen["found"] == ["snapkv:window=100"]


def test_sliding_windows_and_units_that_are_missing_have_no_figures(chromium, workshop, look):
    """In layers with a window below the budget nothing is evicted; a policy that was left out of a case has none."""
    seen = look("windows", "-p", FEW, "-b", BUDGETS, of=workshop.synthetic("windows", "--sliding-window", "32"))
    assert seen["lines"] == contestants(FEW) + 1
    path = workshop.folder / "missing.h5"
    path.write_bytes((workshop.folder / "windows.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        policies = [name.decode() for name in file["policy"]]
        p = policies.index("knorm")
        for name in ("numerator", "denominator"):
            data = file[f"output_error_{name}"]
            if data.ndim == 5:
                data[:, 1, :, p, :] = float("nan")
        file["output_error"][:, 1, :, p, :] = float("nan")
    seen = chromium.visit(
        workshop.report(path).page,
        f"""
        await choose("metric", "output_error");
        await choose("first", {p});
        {READ}
        seen.empty = all("#heat .panel:first-child rect[fill='var(--null)']").length;
        document.querySelector("#heat svg").focus();
        await key("ArrowDown");
        seen.tip = text("#tip");
        await choose("layer", 2);
        seen.inLayer = all("#ranking td.name").map((cell) => cell.innerText.trim());
        return seen;
        """,
    )
    assert seen["empty"] == 4
    assert seen["tip"].endswith("output error –")
    assert "knorm" not in seen["inLayer"] and "h2o" in seen["inLayer"]


HOSTILE = {
    "case_sample": "</script><img src=x onerror=console.error(1)>",
    "policy": ["<i>h2o</i>", "=cmd|' /C calc'!A0", '"><svg onload=console.error(2)>', "& &amp; {{meta}}"],
    "span": "<b>needle</b>&",
}


@pytest.fixture(scope="module")
def hostile(workshop: Workshop, samples: Report) -> Report:
    """Names of a stranger, as far as the reader takes them."""
    path = workshop.folder / "<img src=x onerror=console.error(6)>.h5"
    path.write_bytes(samples.results.read_bytes())
    with h5py.File(path, "r+") as file:

        def rename(name, new):
            file[name][:] = [new(i, old.decode()) for i, old in enumerate(file[name][:])]

        sample = HOSTILE["case_sample"]
        rename("case", lambda i, old: f"{sample}{i // 2}@{old.split('@')[1]}")
        rename("case_sample", lambda i, old: f"{sample}{i // 2}")
        rename("span", lambda i, old: HOSTILE["span"] if old == "needle" else old)
        rename("policy", lambda i, old: HOSTILE["policy"][i] if i < len(HOSTILE["policy"]) else old)
        file.attrs["model_id"] = "<script>console.error(3)</script>"
        file.attrs["left_out"] = '[{"policy": "<u>p</u>", "why": "<s>because</s>"}]'
    return workshop.report(path, "hostile")


def test_hostile_names_are_text(chromium, hostile):
    """Each would say something on the console, which chromium.visit fails for."""
    seen = chromium.visit(
        hostile.page,
        f"""{READ}
        await press(all("#ranking tbody tr").at(-1));
        await choose("first", 0);
        for (const details of all("details")) details.open = true;
        seen.whole = document.body.innerText;
        seen.title = document.title;
        seen.elements = all("main :is(script, img, iframe, object, svg[onload], s)").length;
        seen.bold = all("b").filter((element) => element.textContent === "needle").length;
        seen.drawn = all("svg text").map(textOf);
        return seen;
        """,
    )
    for name in HOSTILE["policy"]:
        assert any(name.strip() == shown.removesuffix("!").strip() for shown in seen["names"]), name
    assert (seen["elements"], seen["bold"]) == (0, 0)
    assert "<script>console.error(3)</script>" in seen["title"]
    for text in ("<u>p</u>", "<s>because</s>", hostile.results.name):
        assert text in seen["whole"]
    assert any(text.startswith("</script>") for text in seen["drawn"]), "samples"
    assert any(text.startswith("<b>needle") for text in seen["drawn"]), "spans"


def test_hostile_names_are_saved_as_text(chromium, hostile):
    saved = chromium.visit(hostile.page, f"{CAPTURE} return [(await save('csv')).text, (await save('svg')).text];")
    names = {row[1] for row in csv.reader(io.StringIO(saved[0]))}
    for name in HOSTILE["policy"]:
        # A spreadsheet computes what begins with "=".
        assert (f"'{name}" if name.startswith("=") else name) in names
    drawing = ElementTree.fromstring(saved[1])
    texts = {text.text for text in drawing.iter("{http://www.w3.org/2000/svg}text")}
    assert texts & set(HOSTILE["policy"])


def test_an_address_that_a_stranger_made_does_nothing(chromium, samples):
    address = "#loss=output_error&point=<img src=x onerror=console.error(4)>&pins=<script>console.error(5)</script>"
    assert "output error" in chromium.visit(samples.page, "return text('#facts');", address=address)


def test_a_browser_that_cannot_unpack_is_told_which_can(chromium, samples):
    seen = chromium.visit(
        samples.page, "return text('h1');", before="delete window.DecompressionStream;", unfinished=True
    )
    assert seen == "This report needs a browser from 2023 or later (Chrome 80, Safari 16.4, Firefox 113)."


def test_without_scripts_the_page_says_what_it_needs(samples):
    text = samples.page.read_text(encoding="utf-8")
    inside = text.split("<noscript>")[1].split("</noscript>")[0]
    assert "draws itself with JavaScript" in inside
