"""Charts and tables show the figures of `kvreplay compare`.

KVREPLAY_PROGRAM=build/kvreplay python3 -m pytest tests/tools/python/plot/compare_test.py
"""

import tempfile
import unittest
from pathlib import Path

import numpy as np
import xarray

from kvreplay import plot
from tests.support.python.paths import ROOT
from tests.support.python.small_results import POLICIES, PROGRAM, compare, replay, rows_of, run

BUDGETS = "0.05,0.1,0.2,0.4,0.8,1"
TOLERANCE = 1e-9  # sums of another order
BOUNDS = {"output_error": 0.2, "attention_recall": 0.9, "mutual_information": 0.9, "summed_projected_error": 1000}


@unittest.skipUnless(PROGRAM, "KVREPLAY_PROGRAM does not name the program")
class Compared(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        metrics = "default,overlap,capacity_rank_correlation"
        cls.results = replay(cls.folder, "r.h5", "-p", ",".join(POLICIES), "-b", BUDGETS, "-m", metrics)
        run("synth", "-o", cls.folder / "t.h5", "--samples", 3, "--prompt", 128, "--layers", 2, "--sensitivity", 4)
        cls.samples = replay(
            cls.folder, "s.h5", "-p", "snapkv,h2o,knorm,random,oracle", "-b", "16,32,64", trace=cls.folder / "t.h5"
        )

    def assert_same(self, found, expected, what: str) -> None:
        np.testing.assert_allclose(np.array(found, float), np.array(expected, float), rtol=TOLERANCE, err_msg=what)

    def assert_pooled(self, results: Path, compared: dict, **selection) -> int:
        n_values = 0
        with xarray.open_dataset(results, engine="h5netcdf") as ds:
            for metric in compared["metrics"]:
                part = {metric["part_dimension"]: metric["part"]} if metric["part"] else {}
                found = plot.pool(ds, metric["metric"], **selection, **part)
                self.assertEqual(found.policy.values.tolist(), [policy["name"] for policy in compared["policies"]])
                self.assert_same(found, metric["values"], metric["metric"])
                n_values += found.size
        return n_values

    def test_pooled_values_are_equal(self):
        prompt = compare(self.results, "--case", "@prompt")
        self.assertGreater(self.assert_pooled(self.results, prompt, point="prompt"), 1000)
        self.assert_pooled(self.results, prompt)  # the last point
        self.assert_pooled(self.results, compare(self.results), point=["context", "prompt"])
        self.assert_pooled(self.samples, compare(self.samples, "--case", "@context"), point="context")
        names = [f"synthetic-000{i}@prompt" for i in (0, 2)]
        some = compare(self.samples, "--case", names[0], "--case", names[1], "--policy", "h2o,oracle")
        self.assert_pooled(self.samples, some, case=names, policy=["oracle", "h2o"])

    def test_values_of_layers_heads_and_cases_are_equal(self):
        for level, over in (("layer", ["case", "head"]), ("head", ["case"]), ("case", ["layer", "head"])):
            compared = compare(self.results, "--by", level, "--metric", "output_error", "--case", "@prompt")
            found = plot.pool(self.results, "output_error", over=over, point="prompt")
            groups = [group["values"] for group in compared["metrics"][0]["groups"]]
            self.assert_same(found.values.reshape(len(groups), *np.shape(groups)[1:]), groups, level)

    def test_the_same_policies_compete(self):
        compared = compare(self.results, "--case", "@prompt", "--metric", "output_error")
        references = [p["name"] for p in compared["policies"] if p["oracle"] or p["keeps_all"] or p["overspends"]]
        self.assertEqual(set(references), {"full", "simlayerkv", "duoattention", "oracle"})
        self.assertTrue(next(p for p in compared["policies"] if p["name"] == "duoattention")["overspends"])
        table = plot.ranking(self.results, "output_error", point="prompt").data
        self.assertEqual(set(table.index[table["rank"].isna()]), set(references))

    def test_areas_and_smallest_caches_are_equal(self):
        for metric, bound in BOUNDS.items():
            option = "--at-least" if metric in ("attention_recall", "mutual_information") else "--at-most"
            compared = compare(self.results, "--case", "@prompt", "--metric", metric, option, f"{metric}={bound}")
            table = plot.ranking(self.results, metric, bound=bound, point="prompt").data
            rows = [policy["name"] for policy in compared["policies"]]
            figures = compared["metrics"][0]
            self.assert_same(table.loc[rows, "area"], figures["areas"], metric)
            crossings = figures["smallest_budgets"][0]["policies"]
            found = table.loc[rows, "smallest cache"]
            self.assert_same(found, [crossing["kept_fraction"] for crossing in crossings], metric)
            self.assertEqual(table.loc[rows, "at smallest"].tolist(), [each["at_smallest"] for each in crossings])

    def test_the_ranking_is_equal(self):
        compared = compare(self.results, "--case", "@prompt")["ranking"]
        table = plot.ranking(self.results, compared["metric"], point="prompt").data
        ranked = table[table["rank"].notna()]
        self.assertEqual(ranked.index.tolist(), compared["policies"])
        self.assert_same(ranked["area"], compared["scores"], "scores")
        self.assertEqual(ranked["rank"].tolist(), list(range(1, len(ranked) + 1)))

    def test_kendalls_tau_is_equal(self):
        n_compared = 0
        for results, truths in ((self.results, ("output_error", "projected_error")), (self.samples, ("output_error",))):
            compared = compare(results, "--case", "@prompt", "--surrogates")["surrogates"]
            for truth in truths:
                chart = plot.agreement(results, truth=truth, point="prompt").to_dict()
                found = taus_of(chart)
                for each in compared["agreements"]:
                    if each["truth"] != truth:
                        continue
                    expected = [budget["value"] for budget in each["by_budget"]]
                    known = [tau for tau in expected if tau is not None]
                    self.assert_same(found.get(each["surrogate"], []), known, f"{truth} {each['surrogate']}")
                    n_compared += len(known)
        self.assertGreater(n_compared, 50)

    def test_lines_are_drawn_through_the_pooled_values(self):
        compared = compare(self.results, "--case", "@prompt", "--metric", "attention_recall")["metrics"][0]
        chart = plot.curves(self.results, "attention_recall", point="prompt", highlight=["snapkv"]).to_dict()
        mine = sorted((row["x"], row["y"]) for row in rows_of(chart) if row.get("policy") == "h2o")
        p = POLICIES.index("h2o")
        expected = list(zip(compared["kept_fraction"][p], 1 - np.array(compared["values"][p])))
        self.assert_same(mine, expected[:-1], "all but the whole cache, of which nothing is missing")

    def test_a_query_head_keeps_what_its_kv_head_keeps(self):
        compared = compare(self.results, "--case", "@prompt", "--metric", "output_error", "--by", "head")["metrics"][0]
        group = next(each for each in compared["groups"] if (each["layer"], each["head"]) == ("11", "7"))
        chart = plot.curves(self.results, "output_error", point="prompt", layer=11, head=7).to_dict()
        p = POLICIES.index("ada-snapkv")  # which gives its heads different shares
        mine = sorted((row["x"], row["y"]) for row in rows_of(chart) if row.get("policy") == "ada-snapkv")
        self.assert_same(mine, list(zip(group["kept_fraction"][p], group["values"][p]))[: len(mine)], "head 11.7")
        self.assertGreater(len(mine), 3)
        self.assertIn("layer 11, head 7", str(chart["title"]))

    def test_the_example_of_the_mean_is_true(self):
        # What the docstring of pool() and docs/notebooks.md say of the shipped trace.
        with xarray.open_dataset(self.results, engine="h5netcdf") as ds:
            mean = ds["output_error"].sel(case="needle@prompt", policy="snapkv", budget=0.1).mean()
            pooled = plot.pool(ds, "output_error", point="prompt", policy="snapkv", budget=0.1)
        self.assertEqual((f"{float(pooled):.3f}", f"{float(mean):.3f}"), ("0.312", "0.217"))
        for text in (plot.pool.__doc__, (ROOT / "docs/notebooks.md").read_text()):
            self.assertIn("0.312", text)
            self.assertIn("0.217", text)


def taus_of(chart: dict) -> dict[str, list[float]]:
    """By surrogate, in order of the budget."""
    found: dict[str, list[tuple]] = {}
    for row in rows_of(chart):
        if "surrogate" in row:
            found.setdefault(row["surrogate"], []).append((row["x"], row["y"]))
    return {name: [y for _, y in sorted(points)] for name, points in found.items()}


if __name__ == "__main__":
    unittest.main()
