"""The figures of a report are those of `kvreplay compare`.

KVREPLAY_PROGRAM=build/kvreplay .venv/bin/python -m pytest tests/browser
"""

import math

import pytest

from tests.browser.pages import Report, Workshop

READ = """
  const { meta, state, area, smallestCache } = report;
  const [metric, point] = [state.metric, meta.points[state.point].name];
  const names = meta.policies.map(({ name }) => name);
  const contestants = meta.contestants.map((p) => names[p]);
  const areas = Object.fromEntries(names.map((name, p) => [name, area(p)]));
  await press(all("[data-sort=area]")[0]);
  const byArea = all("#ranking tbody tr:not(.aside) td.name button").map((button) => button.textContent);
  const warnings = text("#caveats");
  const taus = {};
  for (const truth of meta.headline) {
    await choose("truth", truth);
    taus[truth] = all(".scatters h3").map((title) => title.innerText);
  }
  await choose("metric", "output_error");
  const bound = meta.metrics.find(({ key }) => key === "output_error").bounds.indexOf(0.1);
  const smallest = Object.fromEntries(names.map((name, p) => [name, smallestCache(p, bound)]));
  const labels = Object.fromEntries(meta.metrics.map(({ key, label }) => [key, label]));
  const { headline, headline_why: why } = meta;
  return { metric, point, contestants, areas, byArea, warnings, headline, why, taus, smallest, labels };
"""


@pytest.fixture(scope="module")
def read(chromium, either):
    return chromium.visit(either.page, READ)


@pytest.fixture(scope="module")
def compared(workshop: Workshop, either: Report, read: dict) -> dict:
    return workshop.compare(either, "--case", f"@{read['point']}")


def policies(compared: dict) -> list[str]:
    return [policy["name"] for policy in compared["policies"]]


def metric(compared: dict, name: str) -> dict:
    return next(each for each in compared["metrics"] if each["metric"] == name)


def test_areas_are_those_of_compare(read, compared):
    expected = dict(zip(policies(compared), metric(compared, read["metric"])["areas"]))
    assert sorted(read["contestants"]) == sorted(compared["ranking"]["policies"])
    for name, area in expected.items():
        assert read["areas"][name] == pytest.approx(area, rel=2e-3), name


def test_the_first_five_are_those_of_compare(read, compared):
    assert read["byArea"][:5] == compared["ranking"]["policies"][:5]


def test_the_measure_and_why_it_is_that_one_are_those_of_compare(read, compared):
    assert read["metric"] == read["headline"][0] == compared["ranking"]["metric"]
    assert read["why"] == compared["ranking"]["why"]
    # What ranks by the model itself needs no excuse.
    is_said = read["why"].lower() in read["warnings"].lower()
    assert is_said == (read["metric"] != "predicted_kl")


def test_smallest_caches_are_those_of_compare(read, compared):
    budgets = metric(compared, "output_error")["smallest_budgets"]
    expected = next(each for each in budgets if each["at_most"] == 0.1)["policies"]
    assert any(each["kept_fraction"] for each in expected)
    for name, each in zip(policies(compared), expected):
        share = read["smallest"][name]["share"]
        if each["kept_fraction"] is None:
            assert share is None, name
        else:
            assert share == pytest.approx(each["kept_fraction"], abs=1e-3), name


def test_agreement_is_that_of_compare(workshop, either, read):
    """τ as the page writes it, with two digits, at the budget that it opens with."""
    compared = workshop.compare(either, "--case", f"@{read['point']}", "--surrogates")
    at = min(range(len(compared["budgets"])), key=lambda b: abs(math.log(compared["budgets"][b] / 0.1)))
    n_compared = 0
    for each in compared["surrogates"]["agreements"]:
        tau = each["by_budget"][at]["value"]
        shown = read["taus"].get(each["truth"])
        if shown is None or tau is None:
            continue
        name = each["surrogate"].removeprefix("deviation of ")
        label = read["labels"][name]
        title = label if name == each["surrogate"] else f"Deviation of {label[0].lower()}{label[1:]}"
        texts = [text for text in shown if text.lower().startswith(f"{title} τ".lower())]
        assert len(texts) == 1, (title, shown)
        assert float(texts[0].split("τ = ")[1].split(" ")[0]) == pytest.approx(tau, abs=0.0051), title
        n_compared += 1
    assert n_compared >= 8


def test_the_same_results_make_the_same_bytes(workshop, either):
    again = workshop.report(either.results, f"{either.results.stem}-again", either.retained)
    assert again.page.read_bytes() == either.page.read_bytes()


def test_the_answer_says_what_the_winner_keeps_of_the_needle_beside_random_and_the_best(chromium, workshop, needle):
    said = chromium.visit(needle.page, 'return [text("h1 span"), text("#facts")];')
    compared = workshop.compare(needle, "--case", "@prompt", "--metric", "needle_recall")
    tenth = compared["budgets"].index(0.1)
    (recall,) = (metric["values"] for metric in compared["metrics"] if metric["part"] == "needle")
    kept = {policy["name"]: curve[tenth] for policy, curve in zip(compared["policies"], recall)}
    competing = [
        policy["name"]
        for policy in compared["policies"]
        if not (policy["oracle"] or policy["keeps_all"] or policy["overspends"])
    ]
    winner, facts = said[0], said[1]
    most = max(competing, key=kept.get)
    assert kept[winner] < kept["random"] < kept[most]
    assert (
        f"Of the needle it keeps {100 * kept[winner]:.1f} %, less than random keeps ({100 * kept['random']:.0f} %); "
        f"{most} keeps most, {100 * kept[most]:.0f} %." in facts
    )


def test_a_report_of_the_shipped_trace_is_smaller_than_1_5_mb(needle):
    assert needle.page.stat().st_size < 1.5e6
