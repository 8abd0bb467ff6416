"""The ranking as a table."""

import unittest

import numpy as np

from kvreplay import plot
from kvreplay.common.errors import UsageError
from tests.support.python.small_results import Sums, small_results

DIMS, BELOW = ("case", "layer", "q_head", "policy", "budget"), ("case", "layer", "q_head")


def results(losses: dict[str, list[float]], budgets=(0.2, 0.4, 0.8), **kinds):
    values = np.array(list(losses.values()), dtype=float).reshape(1, 1, 1, len(losses), len(budgets))
    kept = np.broadcast_to(np.array(budgets, dtype=float), values.shape).copy()
    below = np.ones((1, 1, 1))
    metrics = {
        "output_error": Sums(values, below, DIMS, BELOW, **kinds),
        "kept_fraction": Sums(kept, below, DIMS, BELOW),
    }
    return small_results(metrics, policies=list(losses), budgets=budgets)


class Ranking(unittest.TestCase):
    def test_areas_order_the_policies_and_references_come_last(self):
        # Areas over 0.2 to 0.8: (0.2 * (a + b) / 2 + 0.4 * (b + c) / 2) / 0.6.
        # h2o: (0.2 * 0.5 + 0.4 * 0.3) / 0.6 = 0.22 / 0.6; snapkv: (0.2 * 0.4 + 0.4 * 0.2) / 0.6 = 0.16 / 0.6.
        ds = results({"h2o": [0.6, 0.4, 0.2], "oracle": [0.1, 0.1, 0.1], "snapkv": [0.5, 0.3, 0.1]})
        table = plot.ranking(ds, "output_error").data
        self.assertEqual(table.index.tolist(), ["snapkv", "h2o", "oracle"])
        np.testing.assert_allclose(table["area"], [0.16 / 0.6, 0.22 / 0.6, 0.1])
        np.testing.assert_array_equal(table["rank"], [1, 2, np.nan])

    def test_the_smallest_cache_is_interpolated(self):
        # snapkv reaches 0.2 halfway from 0.4 (0.3) to 0.8 (0.1): 0.6. h2o never, oracle at the smallest budget.
        ds = results({"h2o": [0.6, 0.4, 0.3], "oracle": [0.1, 0.1, 0.1], "snapkv": [0.5, 0.3, 0.1]})
        styler = plot.ranking(ds, "output_error", bound=0.2)
        np.testing.assert_allclose(styler.data["smallest cache"], [0.6, np.nan, 0.2])
        self.assertEqual(styler.data["at smallest"].tolist(), [False, False, True])
        page = styler.to_html()
        for text in ("60 %", "–", "≤ 20 %", "at most 0.2"):
            self.assertIn(text, page)
        self.assertNotIn("at smallest", page)

    def test_where_more_is_better_the_greatest_area_leads(self):
        ds = results({"h2o": [0.6, 0.7, 0.8], "snapkv": [0.7, 0.8, 0.9]}, better="higher")
        styler = plot.ranking(ds, "output_error", bound=0.75)
        self.assertEqual(styler.data.index.tolist(), ["snapkv", "h2o"])
        # snapkv: halfway from 0.2 (0.7) to 0.4 (0.8); h2o: halfway from 0.4 (0.7) to 0.8 (0.8).
        np.testing.assert_allclose(styler.data["smallest cache"], [0.3, 0.6])
        self.assertIn("at least 0.75", styler.to_html())

    def test_one_budget_has_no_area_and_its_value_ranks(self):
        table = plot.ranking(results({"h2o": [0.6], "snapkv": [0.5]}, budgets=(0.2,)), "output_error").data
        self.assertEqual(table.index.tolist(), ["snapkv", "h2o"])
        self.assertTrue(table["area"].isna().all())
        self.assertEqual(table["rank"].tolist(), [1, 2])
        self.assertEqual(table["at 20 %"].tolist(), [0.5, 0.6])

    def test_one_policy_is_ranked_first(self):
        styler = plot.ranking(results({"snapkv": [0.6, 0.4, 0.2]}), "output_error", bound=0.1)
        self.assertEqual(styler.data["rank"].tolist(), [1])
        self.assertIn("snapkv", styler.to_html())

    def test_what_the_budget_decides_is_no_contest(self):
        ds = results({"h2o": [0.6, 0.4, 0.2]})
        with self.assertRaisesRegex(UsageError, "kept_fraction: policies do not compete in it"):
            plot.ranking(ds, "kept_fraction")

    def test_hostile_names_are_text(self):
        names = ["<img src=x onerror=alert(1)>", "</script><script>alert(1)</script>", "a&b\x1b[2J"]
        ds = results({name: [0.6, 0.4, 0.2] for name in names}).assign_attrs(model_id=names[0])
        ds = ds.assign_coords(case_point=("case", [names[1]]))
        page = plot.ranking(ds, "output_error", bound=0.1).to_html()
        for name in names:
            self.assertNotIn(name, page)
        self.assertIn("&lt;img src=x onerror=alert(1)&gt;", page)
        self.assertIn("point &lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt;", page)
        self.assertIn("a&amp;b\\x1b[2J", page)
        self.assertNotIn("\x1b", page)


if __name__ == "__main__":
    unittest.main()
