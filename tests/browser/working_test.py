"""What a reader does with a report, and what comes of it."""

import pytest

# Pointer events on the chart, where the dashed line stands and beside it.
DRAG = """
  const handle = () => middle(document.querySelector("#chart .handle"));
  const drawing = () => document.querySelector("#chart svg");
  const y = middle(drawing())[1];
  const begin = report.state.budget;
  const [x] = handle();
  pointer("pointerdown", drawing(), x, y);
  pointer("pointermove", drawing(), x + 90, y);
  pointer("pointermove", drawing(), x + 180, y);
  const during = report.state.budget;
  pointer("pointerup", drawing(), x + 180, y);
  pointer("pointermove", drawing(), x, y);
  await drawn();
  return { begin, during, after: report.state.budget, moved: handle()[0] - x, pins: report.state.pins.length };
"""


def test_the_slider_changes_the_budget_of_every_view(chromium, samples):
    seen = chromium.visit(
        samples.page,
        """
        const handle = "#chart .handle + text";
        const views = () => ["#budget-text", "h1", "#ranking thead", "#where-facts", ".scatters h3", handle].map(text);
        const before = views();
        await type("budget", 0);
        return { before, after: views(), budgets: report.meta.budgets.values };
        """,
    )
    asked = f"{100 * min(seen['budgets']):.0f} %"
    for before, after in zip(seen["before"], seen["after"]):
        assert "10 %" in before and asked in after


def test_a_card_sets_the_budget_and_keeps_the_focus(chromium, samples):
    seen = chromium.visit(
        samples.page,
        """
        const card = all(".card").at(-1);
        card.focus();
        await press(card);
        return {
          label: text("#budget-text"),
          focused: document.activeElement === all(".card").at(-1),
          pressed: all(".card").map((each) => each.getAttribute("aria-pressed")),
        };
        """,
    )
    assert seen["label"].startswith("50 %")
    assert seen["focused"]
    assert seen["pressed"] == ["false", "false", "false", "true"]


def test_the_dashed_line_can_be_dragged_and_dropped(chromium, samples):
    seen = chromium.visit(samples.page, DRAG)
    assert seen["during"] > seen["begin"]
    assert seen["after"] == seen["during"]
    assert seen["moved"] > 50


def test_a_row_colours_its_line_lets_it_go_and_keeps_the_focus(chromium, samples):
    seen = chromium.visit(
        samples.page,
        """
        report.state.pins.length = 0;
        await type("find", "");
        const coloured = () => all("#chart path.pinned[stroke^='var(--pin']").length;
        const row = () => all("#ranking tbody tr:not(.aside)").at(-1);
        const found = [coloured()];
        row().querySelector("button").focus();
        for (let i = 0; i < 2; i++) {
          await press(document.activeElement);
          found.push([coloured(), row().classList.contains("pinned"), row().contains(document.activeElement)]);
        }
        return found;
        """,
    )
    assert seen == [0, [1, True, True], [0, False, True]]


def test_the_seventh_coloured_policy_pushes_out_the_first(chromium, needle):
    seen = chromium.visit(
        needle.page,
        """
        report.state.pins.length = 0;
        await type("find", "");
        const wanted = report.meta.contestants.slice(0, 7);
        for (const policy of wanted) await press(document.querySelector(`tr[data-policy="${policy}"]`));
        return { wanted, pins: report.state.pins };
        """,
    )
    assert seen["pins"] == seen["wanted"][1:]


def test_a_click_on_a_line_colours_it_and_pointing_at_it_names_it(chromium, samples):
    seen = chromium.visit(
        samples.page,
        """
        const { state, meta } = report;
        const lone = report.ranked().at(-1);
        state.pins.length = 0;
        await type("find", "");
        document.getElementById("chart").scrollIntoView();
        // The highest line at the left end belongs to whoever loses most at the smallest budget.
        const path = all("#chart path:is(.context, .reference)").map((each) => [each, each.getPointAtLength(0)]);
        const [line, start] = path.reduce((best, each) => (each[1].y < best[1].y ? each : best));
        const matrix = line.getScreenCTM();
        const at = new DOMPoint(start.x + 2, start.y).matrixTransform(matrix);
        pointer("pointermove", line, at.x, at.y);
        const lit = all("#ranking tr.lit button").map((each) => each.textContent);
        const tip = [text("#tip b"), byId("tip").style.opacity === "1", lit];
        pointer("pointerdown", line, at.x, at.y);
        pointer("pointerup", line, at.x, at.y);
        await drawn();
        return { tip, pins: state.pins.map((p) => meta.policies[p].name) };
        """,
    )
    name, is_shown, lit = seen["tip"]
    assert is_shown
    assert lit == [name]
    assert seen["pins"] == [name]


def test_the_search_narrows_the_table_and_says_when_nothing_matches(chromium, samples):
    seen = chromium.visit(
        samples.page,
        """
        const rows = () => all("#ranking tbody tr").map((row) => row.innerText.trim());
        const lines = () => curves().length;
        const found = { all: rows().length };
        await key("/", document.body);
        found.focused = document.activeElement.id;
        await type("find", "SnapKV");
        found.some = all("#ranking td.name").map((cell) => cell.innerText.trim());
        await type("find", "no such policy");
        found.none = [rows(), lines(), report.state.pins.length];
        await type("find", "");
        found.again = rows().length;
        await press(all(".chip")[0]);
        found.family = [all(".chip")[0].innerText, rows().length];
        return found;
        """,
    )
    assert seen["focused"] == "find"
    assert 0 < len(seen["some"]) < seen["all"]
    assert any("snapkv" in name for name in seen["some"])
    rows, n_lines, n_pins = seen["none"]
    assert rows == ["No policy matches."]
    assert n_lines >= n_pins > 0
    assert seen["again"] == seen["all"]
    assert 0 < seen["family"][1] < seen["all"]


def test_the_table_sorts_by_value_area_and_cache(chromium, samples):
    seen = chromium.visit(
        samples.page,
        """
        const { area, loss, smallestCache, meta } = report;
        const sorted = (values) => values.every((value, i) => !i || !(value < values[i - 1]));
        const rows = () => all("#ranking tbody tr").map((row) => Number(row.dataset.policy));
        const found = {};
        const { bounds } = meta.metrics.find(({ key }) => key === report.state.metric);
        const cache = (p) => {
          const { share } = smallestCache(p, bounds.indexOf(report.state.bound));
          return Number.isNaN(share) ? 9 : share; // never
        };
        const keys = { value: (p) => loss(p), area, cache };
        for (const [kind, read] of Object.entries(keys)) {
          await press(document.querySelector(`[data-sort=${kind}]`));
          const head = document.querySelector("th[aria-sort=ascending] [data-sort]")?.dataset.sort;
          const values = rows().map(read);
          found[kind] = [sorted(values), head, document.activeElement.dataset.sort, new Set(values).size > 2];
        }
        return found;
        """,
    )
    assert seen == {kind: [True, kind, kind, True] for kind in ("value", "area", "cache")}


def test_the_theme_follows_the_address_and_a_button_turns_it(chromium, samples):
    steps = """
      const grounds = [getComputedStyle(document.body).backgroundColor];
      await press(byId("theme"));
      return [...grounds, getComputedStyle(document.body).backgroundColor];
    """
    light, dark = chromium.visit(samples.page, steps, address="?theme=light")
    assert light != dark
    assert chromium.visit(samples.page, steps, address="?theme=dark") == [dark, light]


# Every part of the view that the address holds.
VIEW = """
  const { state, meta } = report;
  const view = () => ({
    state: [state.metric, state.point, state.layer, state.budget, [...state.pins], state.first, state.second],
    texts: [text("h1"), text("#budget-text"), text("#where-facts"), text("#heat h3"), text("#ranking")],
    selects: ["metric", "point", "layer", "first", "second"].map((id) => byId(id).value),
    hash: location.hash,
  });
"""


@pytest.fixture(scope="module")
def opened(chromium, samples) -> dict:
    return chromium.visit(samples.page, f"{VIEW} return view();")


CHANGES = {
    "everything else": """
        await choose("metric", "output_error");
        await choose("point", 0);
        await choose("layer", 2);
        await type("budget", 2);
        await press(all("#ranking tbody tr").at(-1));
        await press(document.querySelector("[data-sort=cache]"));
        await choose("first", 3);
        await choose("second", 1);
    """,
    "no colours": """
        for (const policy of [...state.pins]) await press(document.querySelector(`tr[data-policy="${policy}"]`));
    """,
}


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_a_copied_address_opens_the_same_view(chromium, samples, opened, changes):
    seen = chromium.visit(samples.page, f"{VIEW} {changes} return view();")
    assert seen["state"] != opened["state"]
    assert chromium.visit(samples.page, f"{VIEW} return view();", address=seen["hash"]) == seen


BUDGET, FIRST = 3, 5  # in the view


def test_an_address_that_names_some_of_the_view_leaves_the_rest_as_it_opens(chromium, samples, opened):
    """The policy that is looked at is whoever leads there."""
    seen = chromium.visit(samples.page, f"{VIEW} return view();", address="#keep=0.5")
    changed = [i for i, (one, other) in enumerate(zip(seen["state"], opened["state"])) if one != other]
    assert changed == [BUDGET, FIRST]


def test_the_policy_that_is_looked_at_is_the_leader_until_another_is_chosen(chromium, needle):
    seen = chromium.visit(
        needle.page,
        """
        const { state, ranked } = report;
        const found = [];
        const note = () => found.push([state.first, ranked()[0]]);
        for (const budget of [0, 5, 12]) { await type("budget", budget); note(); }
        await choose("point", 0);
        note();
        const other = ranked().at(-1);
        await choose("first", other);
        await type("budget", 1);
        return { found, other, first: state.first };
        """,
    )
    assert all(first == leader for first, leader in seen["found"])
    assert len({leader for _, leader in seen["found"]}) > 1
    assert seen["first"] == seen["other"]


@pytest.mark.parametrize("section", ["where", "tokens", "origin"])
def test_an_address_that_names_a_section_opens_there(chromium, needle, section):
    seen = chromium.visit(
        needle.page,
        f"await new Promise((done) => setTimeout(done, 500)); return [scrollY, byId('{section}').getBoundingClientRect().top];",
        address=f"#{section}",
    )
    assert seen[0] > 500
    assert -1 <= seen[1] < 900


def test_rows_are_numbered_in_the_order_in_which_they_stand(chromium, needle):
    seen = chromium.visit(
        needle.page,
        """
        const ranks = () => all("#ranking td.rank").map((cell) => cell.textContent).filter(Boolean);
        const found = {};
        for (const kind of ["value", "area", "cache"]) {
          await press(document.querySelector(`[data-sort=${kind}]`));
          found[kind] = ranks();
        }
        return found;
        """,
    )
    for ranks in seen.values():
        assert ranks == [str(i + 1) for i in range(len(ranks))]


def test_an_address_of_another_report_opens_this_one(chromium, samples, opened):
    strange = "#loss=%3Cb%3E&point=x&layer=99&keep=-1&pins=a~b&policy=..&against=__proto__&sort=__proto__&cache=x"
    assert chromium.visit(samples.page, f"{VIEW} return view();", address=strange) == opened


def test_the_arrow_keys_walk_a_heat_map(chromium, samples):
    seen = chromium.visit(
        samples.page,
        """
        const map = document.querySelector("#heat svg");
        map.focus();
        const found = [];
        for (const name of ["ArrowRight", "ArrowDown", "ArrowLeft", "ArrowLeft"]) {
          await key(name);
          const box = map.querySelector(".cursor");
          found.push([text("#tip").split("\\n")[0].split(" layer ")[1], box.getAttribute("visibility")]);
        }
        await key("Escape");
        return { found, layers: report.meta.layers, tip: byId("tip").style.opacity };
        """,
    )
    first, second = seen["layers"][:2]
    places = [f"{first}, head 1", f"{second}, head 1", f"{second}, head 0", f"{second}, head 0"]
    assert seen["found"] == [[place, "visible"] for place in places]
    assert seen["tip"] == "0"


def test_policies_of_the_heat_maps_can_be_chosen(chromium, samples):
    seen = chromium.visit(
        samples.page,
        """
        const { meta } = report;
        await choose("first", 0);
        await choose("second", 0);
        const alone = all("#heat .panel").length;
        await choose("second", 1);
        const titles = all("#heat h3").map((title) => title.innerText);
        return { alone, titles, names: meta.policies.map(({ name }) => name) };
        """,
    )
    assert seen["alone"] == 1
    assert [title.split(" ")[0] for title in seen["titles"][:2]] == seen["names"][:2]
    assert len(seen["titles"]) == 3
