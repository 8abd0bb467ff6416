"""What the charts draw, of results small enough to work out by hand."""

import importlib
import json
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import numpy as np

from kvreplay import plot
from kvreplay.common.errors import InputError, UsageError
from tests.support.python.small_results import Sums, rows_of, small_results

DIMS = ("case", "layer", "q_head", "policy", "budget")
BELOW = ("case", "layer", "q_head")
HOSTILE = ["<img src=x onerror=alert(1)>", "</script><script>alert(1)</script>", "<!--<script>"]


def curve_results(policies=("snapkv", "h2o", "random", "full", "oracle"), budgets=(0.1, 0.2, 0.5), **kinds):
    """Losses 0.8, 0.7, ... of the policies at the first budget, each next one half; `full` loses nothing and keeps
    everything, the others what the budget asks for."""
    losses = np.array([0.8 - 0.1 * p for p in range(len(policies))])[:, None] / 2.0 ** np.arange(len(budgets))
    kept = np.tile(np.array(budgets, dtype=float), (len(policies), 1))
    for p, policy in enumerate(policies):
        if policy == "full":
            losses[p], kept[p] = 0, 1
    shape = (1, 1, 1, len(policies), len(budgets))
    values = 1 - losses if kinds.get("better") == "higher" else losses
    return small_results(
        {
            "output_error": Sums(values.reshape(shape), np.ones((1, 1, 1)), DIMS, BELOW, **kinds),
            "kept_fraction": Sums(kept.reshape(shape), np.ones((1, 1, 1)), DIMS, BELOW),
        },
        policies=policies,
        budgets=budgets,
    )


def lines_of(chart: dict) -> dict[str, dict]:
    """By policy: the layer of its line, with its points."""
    lines = {}
    for layer in chart["layer"]:
        if layer["mark"]["type"] == "line":
            for row in layer["data"]["values"]:
                lines.setdefault(row["policy"], {"mark": layer["mark"], "rows": []})["rows"].append(row)
    return lines


def labels_of(chart: dict) -> dict[str, dict]:
    texts = [layer for layer in chart["layer"] if layer["mark"]["type"] == "text"]
    return {row["text"]: row for layer in texts for row in layer["data"]["values"]}


class Curves(unittest.TestCase):
    def test_every_policy_with_a_loss_is_a_line(self):
        chart = plot.curves(curve_results(), "output_error", highlight=["h2o"]).to_dict()
        lines = lines_of(chart)
        self.assertEqual(
            set(lines), {"snapkv", "h2o", "random", "oracle"}
        )  # full loses nothing: no place on a log axis
        self.assertEqual([len(line["rows"]) for line in lines.values()], [3] * 4)
        self.assertEqual({layer["encoding"]["y"]["scale"]["type"] for layer in chart["layer"]}, {"log"})
        self.assertEqual({layer["encoding"]["x"]["scale"]["type"] for layer in chart["layer"]}, {"log"})

    def test_looks_say_what_a_policy_is(self):
        policies = ("snapkv", "h2o", "random", "simlayerkv", "oracle")
        ds = curve_results(policies)
        ds["kept_fraction_numerator"][0, 0, 0, 3] = 0.9  # simlayerkv overspends
        chart = plot.curves(ds, "output_error", highlight=["h2o"]).to_dict()
        lines = lines_of(chart)
        colours = {name: line["rows"][0]["colour"] for name, line in lines.items()}
        self.assertEqual(colours["h2o"], "#2266dd")
        self.assertEqual(colours["oracle"], "#16202b")
        self.assertEqual(colours["snapkv"], "#aab4c0")
        self.assertEqual(colours["random"], colours["simlayerkv"])
        dashes = {name: line["mark"].get("strokeDash") for name, line in lines.items()}
        self.assertEqual(dashes, {"snapkv": None, "h2o": None, "random": [2, 3], "simlayerkv": [6, 4], "oracle": None})
        self.assertEqual(set(labels_of(chart)), {"h2o", "random", "simlayerkv", "oracle"})

    def test_without_a_wish_the_three_of_least_area_stand_out(self):
        policies = ("a", "b", "c", "d", "random", "oracle")  # losses fall from a to random
        chart = plot.curves(curve_results(policies), "output_error").to_dict()
        self.assertEqual(set(labels_of(chart)), {"b", "c", "d", "random", "oracle"})
        self.assertEqual(lines_of(chart)["d"]["rows"][0]["colour"], "#2266dd")
        self.assertEqual(lines_of(chart)["random"]["rows"][0]["colour"], "#566373")

    def test_where_more_is_better_the_missing_part_is_drawn(self):
        chart = plot.curves(curve_results(better="higher"), "output_error", highlight=["snapkv"]).to_dict()
        rows = {row["budget"]: row for row in lines_of(chart)["snapkv"]["rows"]}
        # A recall of 0.2 misses 0.8.
        self.assertAlmostEqual(rows[0.1]["y"], 0.8)
        self.assertAlmostEqual(rows[0.1]["value"], 0.2)
        self.assertEqual(chart["layer"][0]["encoding"]["y"]["title"], "1 - output_error")

    def test_negative_values_have_a_linear_axis(self):
        ds = curve_results()
        ds["output_error_numerator"][0, 0, 0, 0, 0] = -0.3
        chart = plot.curves(ds, "output_error").to_dict()
        scale = chart["layer"][0]["encoding"]["y"]["scale"]
        self.assertNotIn("type", scale)
        self.assertLess(scale["domain"][0], -0.3)
        self.assertIn("full", lines_of(chart))

    def test_labels_keep_a_distance(self):
        policies = tuple(f"p{i}" for i in range(6))
        ds = curve_results(policies)
        ds["output_error_numerator"][...] = 0.5
        ds["output_error_numerator"][0, 0, 0, 0, 0] = 0.9
        chart = plot.curves(ds, "output_error", highlight=policies).to_dict()
        domain = np.log(chart["layer"][0]["encoding"]["y"]["scale"]["domain"])
        places = sorted(np.log([row["y"] for row in labels_of(chart).values()]))
        pixels = np.diff(places) / (domain[1] - domain[0]) * chart["height"]
        self.assertEqual(len(pixels), 5)
        self.assertGreaterEqual(pixels.min(), 11.9)

    def test_a_default_point_stands_in_the_title(self):
        losses = Sums(np.full((2, 1, 1, 1, 1), 0.5), np.ones((2, 1, 1)), DIMS, BELOW)
        both = small_results({"output_error": losses}, cases=("a@context", "a@prompt"))
        title = json.dumps(plot.curves(both, "output_error").to_dict()["title"])
        self.assertIn("point prompt (the last of context, prompt)", title)
        title = json.dumps(plot.curves(both, "output_error", point="context").to_dict()["title"])
        self.assertIn("point context", title)
        self.assertNotIn("the last of", title)

    def test_one_policy_at_one_budget_is_a_point(self):
        chart = plot.curves(curve_results(("snapkv",), (0.1,)), "output_error").to_dict()
        (line,) = [layer for layer in chart["layer"] if layer["mark"]["type"] == "line"]
        self.assertTrue(line["mark"]["point"])
        self.assertEqual(line["encoding"]["y"]["axis"]["values"], [0.8])  # there is a number on the axis
        self.assertEqual(set(labels_of(chart)), {"snapkv"})

    def test_wrong_wishes_are_refused(self):
        ds = curve_results()
        with self.assertRaisesRegex(UsageError, "unknown policy 'h20'; did you mean 'h2o'"):
            plot.curves(ds, "output_error", highlight=["h20"])
        seven = curve_results([f"p{i}" for i in range(7)])
        with self.assertRaisesRegex(UsageError, "7 policies, but only 6 colours"):
            plot.curves(seven, "output_error", highlight=[f"p{i}" for i in range(7)])
        with self.assertRaisesRegex(InputError, "no policy has a value to draw at point prompt"):
            plot.curves(curve_results(("full",)), "output_error")

    def test_a_metric_in_parts_is_drawn_part_by_part(self):
        dims = (*DIMS, "span")
        recall = Sums(
            np.array([0.5, 0.25]).reshape(1, 1, 1, 1, 1, 2),
            np.ones((1, 1, 1, 2)),
            dims,
            (*BELOW, "span"),
            better="higher",
        )
        ds = small_results({"needle_recall": recall}).assign_coords(span=["needle", "question"])
        with self.assertRaisesRegex(UsageError, "a value for each span: choose one, span= one of needle, question"):
            plot.curves(ds, "needle_recall")
        chart = plot.curves(ds, "needle_recall", span="question").to_dict()
        self.assertEqual([row["y"] for row in lines_of(chart)["snapkv"]["rows"]], [0.75])
        self.assertIn("needle_recall[question]", json.dumps(chart["title"]))


def heads_results(first, second):
    """[layer, head] losses of two policies."""
    values = np.stack([first, second], axis=-1)[None, ..., None]
    below = np.ones(values.shape[:3])
    return small_results(
        {"output_error": Sums(values, below, DIMS, BELOW)},
        layers=range(values.shape[1]),
        n_heads=values.shape[2],
        policies=("snapkv", "h2o"),
    )


class Heatmap(unittest.TestCase):
    def test_every_layer_and_head_is_a_cell(self):
        ds = heads_results([[0.1, 0.2], [0.4, 0.8]], [[0.1, 0.1], [0.1, 0.1]])
        cells = plot.heatmap(ds, "snapkv").to_dict()["layer"][0]["data"]["values"]
        found = {(cell["layer"], cell["head"]): cell["loss"] for cell in cells}
        self.assertEqual(found, {(0, 0): 0.1, (0, 1): 0.2, (1, 0): 0.4, (1, 1): 0.8})

    def test_a_ratio_is_a_binary_logarithm(self):
        # 0.1 / 0.2 is a half: -1; 0.4 / 0.1 is 4: 2; 0 / 0.1 has none.
        ds = heads_results([[0.1, 0.4, 0.0]], [[0.2, 0.1, 0.1]])
        chart = plot.heatmap(ds, "snapkv", against="h2o").to_dict()
        cells = chart["layer"][0]["data"]["values"]
        self.assertAlmostEqual(cells[0]["shown"], -1)
        self.assertAlmostEqual(cells[1]["shown"], 2)
        self.assertIsNone(cells[2]["shown"])
        self.assertEqual(len(chart["layer"][1]["data"]["values"]), 2)
        self.assertEqual(chart["layer"][1]["encoding"]["color"]["scale"]["domain"], [-2, -1, 0, 1, 2])

    def test_five_thousand_cells_and_more_are_drawn(self):
        ds = heads_results(np.full((80, 64), 0.1), np.full((80, 64), 0.2))
        self.assertEqual(len(rows_of(plot.heatmap(ds, "snapkv").to_dict()["layer"][0])), 80 * 64)

    def test_heads_without_values_are_cells_without_a_colour(self):
        ds = heads_results([[0.1, 0.2]], [[0.1, 0.1]])
        ds["output_error_numerator"][0, 0, 1] = np.nan
        chart = plot.heatmap(ds, "snapkv").to_dict()
        self.assertEqual([len(rows_of(layer)) for layer in chart["layer"]], [2, 1, 1])

    def test_what_has_no_layers_or_no_value_is_refused(self):
        kl = Sums(np.ones((1, 1, 1)), [1], ("case", "policy", "budget"), ("case",))
        with self.assertRaisesRegex(UsageError, "predicted_kl is of all layers together"):
            plot.heatmap(small_results({"predicted_kl": kl}), "snapkv", metric="predicted_kl")
        ds = heads_results([[0.1]], [[0.0]])
        with self.assertRaisesRegex(UsageError, "unknown policy 'h20'; did you mean 'h2o'"):
            plot.heatmap(ds, "snapkv", against="h20")
        with self.assertRaisesRegex(InputError, "snapkv against h2o has no value to draw"):
            plot.heatmap(ds, "snapkv", against="h2o")


class Agreement(unittest.TestCase):
    def results(self, truth, surrogate, **kinds):
        """[policy] at one budget; policies that compete."""
        sums = [
            Sums(np.reshape(each, (1, 1, 1, -1, 1)), np.ones((1, 1, 1)), DIMS, BELOW) for each in (truth, surrogate)
        ]
        sums[1].better, sums[1].monotone = kinds.get("better", "higher"), kinds.get("monotone", 1)
        policies = [f"p{i}" for i in range(len(truth))]
        return small_results({"output_error": sums[0], "capacity": sums[1]}, policies=policies)

    def taus(self, ds) -> dict[str, float]:
        chart = plot.agreement(ds, truth="output_error", surrogates=["capacity"]).to_dict()
        return {row["surrogate"]: row["y"] for row in rows_of(chart) if "surrogate" in row}

    def test_tau_is_one_for_the_same_order_whichever_way_is_better(self):
        self.assertEqual(self.taus(self.results([3, 2, 1], [0.1, 0.2, 0.3])), {"capacity": 1})
        self.assertEqual(self.taus(self.results([3, 2, 1], [0.3, 0.2, 0.1])), {"capacity": -1})
        self.assertEqual(self.taus(self.results([3, 2, 1], [30, 20, 10], better="lower")), {"capacity": 1})

    def test_ties_are_within_a_part_in_a_million(self):
        # Pairs of p0 p1 p2: the truth tells all 3 apart, the surrogate 2 of them, both alike: 2 / sqrt(3 * 2).
        tied = self.taus(self.results([3, 2, 1], [0.1, 0.1 * (1 + 5e-7), 0.3]))["capacity"]
        self.assertAlmostEqual(tied, 2 / np.sqrt(6))
        self.assertEqual(self.taus(self.results([3, 2, 1], [0.1, 0.1 * (1 + 5e-6), 0.3])), {"capacity": 1})

    def test_a_measure_that_is_not_monotone_has_a_deviation(self):
        # Shares 0.9, 1.0, 1.2 of the full cache: by deviation 1.0 is best, then 0.9, then 1.2, as the errors 2 1 3 say.
        taus = self.taus(self.results([2, 1, 3], [0.9, 1.0, 1.2], monotone=0))
        self.assertAlmostEqual(taus["deviation of capacity"], 1)
        self.assertAlmostEqual(taus["capacity"], -1 / 3)  # of 3 pairs one alike, two reversed

    def test_a_surrogate_that_ties_everything_scores_0_and_a_truth_that_does_is_refused(self):
        self.assertEqual(self.taus(self.results([3, 2, 1], [1, 1, 1])), {"capacity": 0})
        with self.assertRaisesRegex(InputError, "output_error ties all policies at every budget"):
            self.taus(self.results([1, 1, 1], [3, 2, 1]))

    def test_two_policies_have_to_compete(self):
        with self.assertRaisesRegex(InputError, "of the 1 here 1 compete"):
            self.taus(self.results([1], [1]))

    def test_nothing_is_held_against_itself(self):
        ds = self.results([3, 2, 1], [1, 2, 3])
        with self.assertRaisesRegex(UsageError, "nothing is held against itself"):
            plot.agreement(ds, truth="capacity", surrogates=["capacity"])
        with self.assertRaisesRegex(UsageError, "unknown metric 'capacty'; did you mean 'capacity'"):
            plot.agreement(ds, truth="output_error", surrogates=["capacty"])
        with self.assertRaisesRegex(UsageError, "no surrogates in these results"):
            plot.agreement(ds)


class Drawn(unittest.TestCase):
    def test_charts_are_written_as_png_and_svg(self):
        ds = curve_results()
        chart = plot.curves(ds, "output_error") | plot.heatmap(ds, "snapkv", against="h2o")
        with tempfile.TemporaryDirectory() as folder:
            for name, begin in (("c.png", b"\x89PNG"), ("c.svg", b"<svg")):
                chart.save(Path(folder) / name)
                self.assertTrue((Path(folder) / name).read_bytes().startswith(begin))
            self.assertIn("snapkv", (Path(folder) / "c.svg").read_text())

    def test_hostile_names_end_no_script_of_a_page(self):
        ds = curve_results([*HOSTILE, "random"]).assign_attrs(model_id=HOSTILE[1])
        charts = [
            plot.curves(ds, "output_error", highlight=HOSTILE),
            plot.heatmap(ds, HOSTILE[0], against=HOSTILE[1]),
            plot.agreement(ds.assign(other=ds["output_error"]), truth="output_error", surrogates=["other"]),
        ]
        for chart in charts:
            page = chart.to_html()
            for name in HOSTILE:
                self.assertNotIn(name, page)
            self.assertNotIn("alert(1)<", page)

    def test_what_is_missing_says_how_to_install_it(self):
        def importing(name, *rest):
            if name in ("altair", "pandas"):
                raise ImportError(f"No module named '{name}'")
            return real(name, *rest)

        real = importlib.import_module
        ds = curve_results()
        with mock.patch.object(importlib, "import_module", importing):
            for make in (plot.curves, plot.ranking):
                with self.assertRaisesRegex(ImportError, r"pip install kvreplay\[plot\]"):
                    make(ds, "output_error")
            plot.pool(ds, "output_error")  # needs neither


if __name__ == "__main__":
    unittest.main()
