"""What a reader takes away: the table as CSV, the chart as SVG, the page on paper."""

import csv
import io
import re
from xml.etree import ElementTree

import pytest

from tests.browser.pages import Report, Workshop

SVG = "{http://www.w3.org/2000/svg}"
# Instead of a download: what would have been saved, and as what. Taken as the Blob is made: reading one waits for another
# process, and meanwhile the page's own clock would leap to its end.
CAPTURE = """
  let saved = null;
  window.Blob = class { constructor(parts) { saved = parts.join(""); } };
  URL.createObjectURL = () => "blob:null/nothing";
  const names = [];
  HTMLAnchorElement.prototype.click = function () { names.push(this.download); };
  const save = async (id) => {
    await press(byId(id));
    return { name: names.at(-1), text: saved };
  };
"""


@pytest.fixture(scope="module")
def saved(chromium, either: Report) -> dict:
    return chromium.visit(
        either.page,
        f"""{CAPTURE}
        const {{ meta, state }} = report;
        const shown = all("#ranking tbody tr").map((row) => all("td", row).map((cell) => cell.innerText.trim()));
        const lines = curves().map((path) => path.getAttribute("d"));
        return {{
          csv: await save("csv"),
          svg: await save("svg"),
          shown,
          lines,
          metric: state.metric,
          point: meta.points[state.point].name,
          budget: state.budget,
          pins: state.pins.map((p) => meta.policies[p].name),
        }};""",
    )


def test_the_csv_has_the_rows_and_figures_of_compare_in_the_table_s_order(workshop: Workshop, either, saved):
    assert saved["csv"]["name"] == f"kvreplay-{saved['metric']}.csv"
    head, *rows = csv.reader(io.StringIO(saved["csv"]["text"]))
    assert head[:2] == ["rank", "policy"]
    assert head[-1] == "parameters"
    assert [row[1] for row in rows] == [cells[1].removesuffix("!").strip() for cells in saved["shown"]]
    assert [row[0] for row in rows] == [cells[0] for cells in saved["shown"]]
    compared = workshop.compare(either, "--case", f"@{saved['point']}")
    metric = next(each for each in compared["metrics"] if each["metric"] == saved["metric"])
    places = {policy["name"]: p for p, policy in enumerate(compared["policies"])}
    assert {row[1] for row in rows} >= set(compared["ranking"]["policies"])
    for row in rows:
        p = places[row[1]]
        assert float(row[2]) == pytest.approx(metric["values"][p][saved["budget"]], rel=2e-3)
        assert float(row[3]) == pytest.approx(metric["areas"][p], rel=2e-3)
        assert row[5] == compared["policies"][p]["parameters"]


def test_the_table_shows_the_figures_of_the_csv(saved):
    for row, cells in zip(csv.reader(io.StringIO(saved["csv"]["text"].split("\n", 1)[1])), saved["shown"]):
        for exact, shown in ((row[2], cells[2].removeprefix("≈ ")), (row[3], cells[3])):
            number = float(shown.replace("−", "-").replace("k", "e3").replace("M", "e6"))
            assert number == pytest.approx(float(exact), rel=0.05 if "e" in shown else 0.006), cells


def test_the_svg_is_one_that_any_program_reads_and_holds_the_lines(saved):
    assert saved["svg"]["name"] == f"kvreplay-{saved['metric']}.svg"
    drawing = ElementTree.fromstring(saved["svg"]["text"])
    assert drawing.tag == f"{SVG}svg"
    paths = [path.get("d") for path in drawing.iter(f"{SVG}path")]
    assert set(saved["lines"]) <= set(paths)
    names = [text.text for text in drawing.iter(f"{SVG}text")]
    assert set(saved["pins"]) <= set(names)
    # Nothing in it asks for the page's style sheet.
    for element in drawing.iter():
        assert "var(" not in element.get("style", "")
        assert element.get("style", "") or element is drawing


def headings(pdf: bytes) -> str:
    """Of the outline: literal text, or UTF-16 in hexadecimal digits."""
    plain = [title.decode("latin-1") for title in re.findall(rb"/Title \(([^\n]*)\)", pdf)]
    wide = [bytes.fromhex(title.decode()).decode("utf-16") for title in re.findall(rb"/Title <(\w+)>", pdf)]
    return "\n".join(plain + wide)


def test_the_page_is_printed_with_every_section(chromium, either):
    pdf = chromium.print(either.page)
    assert len(re.findall(rb"/Type /Page\b(?!s)", pdf)) >= 3
    for heading in ("Keeping 10 %", "Loss against", "Where it fails", "cheap measure", "Origin, notes", "cannot see"):
        assert heading in headings(pdf)


def test_print_opens_what_is_folded_and_is_light_and_gives_the_view_back(chromium, samples):
    seen = chromium.visit(
        samples.page,
        """
        const open = () => all("details").filter((each) => each.open).length;
        const ground = () => getComputedStyle(document.body).backgroundColor;
        const look = () => [open(), document.documentElement.dataset.theme, ground()];
        const before = look();
        dispatchEvent(new Event("beforeprint"));
        const during = look();
        const drawnFor = document.querySelector("#where-facts").innerText;
        dispatchEvent(new Event("afterprint"));
        return { n: all("details").length, before, during, drawnFor, after: look() };
        """,
        address="?theme=dark",
    )
    assert seen["during"] == [seen["n"], "light", "rgb(255, 255, 255)"]
    assert "Darker loses more" in seen["drawnFor"]
    assert seen["after"] == seen["before"]
    assert seen["before"][0] < seen["n"]


def test_on_paper_there_are_no_controls_and_no_lists_that_scroll(chromium, workshop, needle):
    """The rules for paper, on a screen."""
    text = needle.page.read_text(encoding="utf-8")
    paper = workshop.folder / "paper.html"
    assert "@media print" in text
    paper.write_text(text.replace("@media print", "@media all"), encoding="utf-8")
    seen = chromium.visit(
        paper,
        """
        const hides = [".controls", ".tools", "nav", ".switches", ".ranking-tools", ".hint"];
        const boxes = all(".scroll, .text").filter(isVisible);
        const scrolls = boxes.filter((box) => box.scrollHeight > box.clientHeight + 1);
        return {
          shown: hides.filter((selector) => all(selector).some(isVisible)),
          scrolls: scrolls.map(described),
          sections: all("main section").filter(isVisible).length,
        };
        """,
        width=820,
    )
    assert seen == {"shown": [], "scrolls": [], "sections": 6}
