"""Pooling by hand: sums are added before they are divided."""

import json
import unittest
import warnings

import numpy as np

from kvreplay.common.errors import InputError, UsageError
from kvreplay.plot import pool
from tests.support.python.small_results import Sums, small_results

HEADS, LAYERS, CASES = "q_head", "layer", "case"
NONE = np.nan


def shaped(values, n_cases=1, n_layers=1, n_heads=1, n_policies=1, n_budgets=1):
    return np.array(values, dtype=float).reshape(n_cases, n_layers, n_heads, n_policies, n_budgets)


def of_heads(numerators, denominators, **kinds) -> Sums:
    return Sums(numerators, denominators, (CASES, LAYERS, HEADS, "policy", "budget"), (CASES, LAYERS, HEADS), **kinds)


class Pool(unittest.TestCase):
    def test_a_large_head_counts_more_than_a_small_one(self):
        # 1 of 10 and 90 of 100. Mean of ratios: (0.1 + 0.9) / 2 = 0.5. Ratio of sums: 91 / 110.
        ds = small_results({"loss": of_heads(shaped([1, 90], n_heads=2), [[[10, 100]]])}, n_heads=2)
        pooled = pool(ds, "loss")
        self.assertEqual(pooled.dims, ("policy", "budget"))
        self.assertAlmostEqual(float(pooled.squeeze()), 91 / 110, places=15)
        heads = pool(ds, "loss", over="case").squeeze()
        np.testing.assert_allclose(heads, [0.1, 0.9])
        self.assertAlmostEqual(float(heads.mean()), 0.5)

    def test_a_root_is_taken_after_the_sums(self):
        # sqrt((1 + 8) / (50 + 50)) = 0.3; the mean of sqrt(1 / 50) and sqrt(8 / 50) is 0.27.
        sums = of_heads(shaped([1, 8], n_layers=2), [[[50], [50]]], formula="sqrt_ratio")
        ds = small_results({"error": sums}, layers=(3, 7))
        self.assertAlmostEqual(float(pool(ds, "error").squeeze()), 0.3, places=15)
        by_layer = pool(ds, "error", over=["case", "head"])
        self.assertEqual(by_layer.dims, ("layer", "policy", "budget"))
        self.assertAlmostEqual(float(by_layer.sel(layer=7).squeeze()), 0.4, places=15)

    def test_of_an_output_of_zero_nothing_can_be_lost(self):
        zero = small_results({"error": of_heads(shaped([0]), [[[0]]], formula="sqrt_ratio")})
        self.assertEqual(float(pool(zero, "error").squeeze()), 0)
        ratio = small_results({"error": of_heads(shaped([0]), [[[0]]], formula="ratio")})
        self.assertTrue(np.isnan(pool(ratio, "error")).all())

    def test_sums_are_added_and_standard_errors_add_their_squares(self):
        bytes_ = of_heads(shaped([5, 7], n_layers=2), [[[0], [0]]], formula="sum")
        # Variances of sums: sqrt(9 + 16) / (2 + 3) = 1.
        deviation = of_heads(shaped([9, 16], n_layers=2), [[[2], [3]]], formula="sqrt_over")
        ds = small_results({"bytes": bytes_, "standard_error": deviation}, layers=(0, 1))
        self.assertEqual(float(pool(ds, "bytes").squeeze()), 12)
        self.assertEqual(float(pool(ds, "standard_error").squeeze()), 1)

    def test_a_denominator_of_each_case_counts_once_for_each_layer_and_head(self):
        # 2 cases x 2 layers x 2 heads x 10 queries = 80, numerators 8 x 4 = 32.
        numerators = np.full((2, 2, 2, 1, 1), 4.0)
        mass = Sums(numerators, [10, 10], (CASES, LAYERS, HEADS, "policy", "budget"), (CASES,))
        ds = small_results({"mass": mass}, cases=("a@prompt", "b@prompt"), layers=(0, 1), n_heads=2)
        self.assertAlmostEqual(float(pool(ds, "mass").squeeze()), 32 / 80, places=15)

    def test_units_that_hold_nothing_do_not_count(self):
        # Layer 1 has no value for any policy: 3 / 4, not 3 / 8.
        ds = small_results({"loss": of_heads(shaped([3, NONE], n_layers=2), [[[4], [4]]])}, layers=(0, 1))
        self.assertEqual(float(pool(ds, "loss").squeeze()), 0.75)
        self.assertTrue(np.isnan(pool(ds, "loss", layer=1)).all())

    def test_a_policy_that_lacks_a_unit_of_others_has_no_value(self):
        # In layer 1 random was not measured: its value would stand for layer 0 alone. snapkv: (1 + 2) / (4 + 4).
        numerators = shaped([[1, 1], [2, NONE]], n_layers=2, n_policies=2)
        ds = small_results({"loss": of_heads(numerators, [[[4], [4]]])}, layers=(0, 1), policies=("snapkv", "random"))
        pooled = pool(ds, "loss").squeeze()
        self.assertEqual(float(pooled.sel(policy="snapkv")), 3 / 8)
        self.assertTrue(np.isnan(pooled.sel(policy="random")))
        # By itself it is the only policy, and layer 1 does not exist.
        self.assertEqual(float(pool(ds, "loss", policy="random").squeeze()), 0.25)

    def test_all_layers_stand_together_in_a_metric_of_the_model(self):
        kl = Sums(np.array([6.0, 2.0]).reshape(2, 1, 1), [4, 4], (CASES, "policy", "budget"), (CASES,))
        ds = small_results({"predicted_kl": kl}, cases=("a@prompt", "b@prompt"), layers=(0, 1))
        self.assertEqual(float(pool(ds, "predicted_kl", over=["case", "layer", "head"]).squeeze()), 1)  # 8 / 8
        with self.assertRaisesRegex(UsageError, "is of layers 0,1 together"):
            pool(ds, "predicted_kl", layer=0)

    def test_compression_points_are_pooled_only_by_name(self):
        # 1 / 10 at the context, 9 / 10 at the prompt; both: 10 / 20.
        sums = of_heads(shaped([1, 9], n_cases=2), [[[10]], [[10]]])
        ds = small_results({"loss": sums}, cases=("a@context", "a@prompt"))
        last = pool(ds, "loss")
        self.assertEqual((float(last.squeeze()), last.attrs["point"]), (0.9, "prompt"))
        self.assertEqual(float(pool(ds, "loss", point="context").squeeze()), 0.1)
        both = pool(ds, "loss", point=["context", "prompt"])
        self.assertEqual((float(both.squeeze()), both.attrs["point"]), (0.5, "context, prompt"))
        self.assertEqual(float(pool(ds, "loss", case="a@context").squeeze()), 0.1)
        self.assertEqual(pool(ds, "loss", over=["layer", "head"]).sizes["case"], 2)  # told apart, so not pooled

    def test_cases_that_some_policy_lacks_are_left_out_with_a_warning(self):
        # Case b was not replayed with random: both policies are of case a alone, 1 / 4 and 2 / 4.
        numerators = shaped([[1, 2], [3, NONE]], n_cases=2, n_policies=2)
        left_out = json.dumps([{"policy": "random", "case": "b@prompt", "why": "it needs rest"}])
        ds = small_results(
            {"loss": of_heads(numerators, [[[4]], [[4]]])},
            cases=("a@prompt", "b@prompt"),
            policies=("snapkv", "random"),
            left_out=left_out,
        )
        with self.assertWarnsRegex(UserWarning, "figures are of the 1 of 2 cases .* not of b@prompt"):
            pooled = pool(ds, "loss")
        self.assertEqual(pooled.squeeze().values.tolist(), [0.25, 0.5])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            alone = pool(ds, "loss", policy="snapkv")
        self.assertEqual(float(alone.squeeze()), 0.5)  # (1 + 3) / (4 + 4)
        with self.assertWarnsRegex(UserWarning, "random is not shown: it was replayed on no case"):
            self.assertEqual(pool(ds, "loss", sample="b").policy.values.tolist(), ["snapkv"])

    def test_different_work_is_refused(self):
        left_out = [
            {"policy": "random", "case": "a@prompt", "why": ""},
            {"policy": "snapkv", "case": "b@prompt", "why": ""},
        ]
        ds = small_results(
            {"loss": of_heads(np.ones((2, 1, 1, 2, 1)), np.ones((2, 1, 1)))},
            cases=("a@prompt", "b@prompt"),
            policies=("snapkv", "random"),
            left_out=json.dumps(left_out),
        )
        with self.assertRaisesRegex(UsageError, "no case was replayed with every policy"):
            pool(ds, "loss")

    def test_a_label_takes_its_dimension_away_and_a_list_keeps_it(self):
        numerators = np.arange(8.0).reshape(1, 2, 2, 1, 2)
        ds = small_results(
            {"loss": of_heads(numerators, np.ones((1, 2, 2)))}, layers=(0, 1), n_heads=2, budgets=(0.1, 0.5)
        )
        # Head 1 of layer 1: numerators 6 and 7.
        chosen = pool(ds, "loss", over="case", layer=1, head=1, policy="snapkv", budget=0.45)
        self.assertEqual((chosen.dims, float(chosen), float(chosen.budget)), ((), 7, 0.5))
        self.assertEqual(
            pool(ds, "loss", over="case", layer=[1], budget=[0.1]).dims, ("layer", "q_head", "policy", "budget")
        )
        # Twice the same layer is that layer once: (4 + 6) / 2.
        self.assertEqual(float(pool(ds, "loss", layer=[1, 1], budget=0.1).squeeze()), 5)

    def test_a_share_finds_its_budget_among_tokens(self):
        ds = small_results(
            {"loss": of_heads(shaped([1, 2, 3], n_budgets=3), [[[1]]])}, budgets=(16, 64, 128), budget_kind="tokens"
        )
        ds["n_candidates"] = (("case", "layer"), [[256.0]])
        # Of 256 tokens a quarter is 64; a number from 1 on is tokens.
        self.assertEqual(float(pool(ds, "loss", budget=0.25).budget), 64)
        self.assertEqual(float(pool(ds, "loss", budget=100).budget), 128)


class Refusals(unittest.TestCase):
    def setUp(self):
        self.ds = small_results({"output_error": of_heads(shaped([1]), [[[2]]])})

    def test_unknown_names_are_refused_with_the_nearest(self):
        for keywords, words in [
            ({"metric": "output_eror"}, "unknown metric 'output_eror'; did you mean 'output_error'"),
            ({"policy": "snapvk"}, "unknown policy 'snapvk'; did you mean 'snapkv'"),
            ({"point": "promt"}, "unknown point 'promt'; did you mean 'prompt'"),
            ({"layer": 4}, "unknown layer '4'; known: 0"),
            ({"head": 9}, "unknown head '9'; known: 0"),
            ({"polcy": "snapkv"}, "unknown selection 'polcy'; did you mean 'policy'"),
            ({"over": "budget"}, "unknown dimension to pool over 'budget'"),
            ({"span": "needle"}, "output_error does not have the dimension 'span'"),
            ({"policy": []}, "no policy is chosen"),
        ]:
            with self.assertRaisesRegex(UsageError, words):
                pool(self.ds, **({"metric": "output_error"} | keywords))

    def test_a_metric_that_was_left_out_says_why(self):
        self.ds.attrs["left_out"] = '[{"metric": "predicted_kl", "why": "it needs sensitivities"}]'
        with self.assertRaisesRegex(UsageError, "unknown metric 'predicted_kl'.*it needs sensitivities"):
            pool(self.ds, "predicted_kl")

    def test_what_is_no_results_is_refused(self):
        with self.assertRaisesRegex(InputError, "expected a file of the format kvreplay-results, found kvreplay-trace"):
            pool(self.ds.assign_attrs(format="kvreplay-trace"), "output_error")
        with self.assertRaisesRegex(InputError, "format_version is '2.0'"):
            pool(self.ds.assign_attrs(format_version="2.0"), "output_error")
        with self.assertRaisesRegex(InputError, "without the dimension 'policy'"):
            pool(self.ds.sel(policy="snapkv"), "output_error")
        with self.assertRaisesRegex(InputError, "expected an xarray.Dataset or the path of results, found int"):
            pool(7, "output_error")
        with self.assertRaisesRegex(InputError, "the denominator 'output_error_denominator' .* is missing"):
            pool(self.ds.drop_vars("output_error_denominator"), "output_error")
        with self.assertRaisesRegex(InputError, "attribute left_out: expected a JSON list"):
            pool(self.ds.assign_attrs(left_out="{"), "output_error")


if __name__ == "__main__":
    unittest.main()
