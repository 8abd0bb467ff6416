"""Presses of kvpress as scorers keep what their twins and what kvpress itself keeps; others are refused by name.

KVREPLAY_PROGRAM=build/kvreplay python3 -m pytest tests/tools/python/kvpress_bridge/from_kvpress_test.py
"""

import tempfile
import unittest
import warnings
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch

import kvreplay as kr
from tests.golden.golden_file import RATIOS, read_goldens
from tests.golden.golden_test import TIE_TOLERANCE
from tests.golden.live_presses import FOLDER
from tests.golden.set_difference import differences
from tests.support.python.kvpress_library import needs_kvpress
from tests.support.python.small_results import TRACE

try:
    import kvpress
    from kvpress import ScorerPress
except ImportError:  # the tests are skipped
    ScorerPress = object

torch.set_num_threads(1)


class Replayed(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def sets(self, trace: Path, policies: list, **settings: object) -> list[dict[int, np.ndarray]]:
        """What each policy keeps, by layer, bool [n_budgets, n_heads, n_tokens]."""
        path = self.folder / "sets.h5"
        ds = kr.replay(
            trace, policies, compression_points="prompt", metrics="kept_fraction", retained=path, force=True, **settings
        )
        with h5py.File(path) as file:
            layers = file["samples/0000/prompt/layers"]
            return [
                {int(layer): group[f"retained/{label}"][()] != 0 for layer, group in layers.items()}
                for label in ds["policy"].values
            ]


@needs_kvpress
class Twins(Replayed):
    def assert_equal_on_the_shipped_trace(self, press: "ScorerPress", policy: str, budgets=(0.1, 0.25, 0.5)) -> None:
        part = kr.from_kvpress(press)
        ours, own = self.sets(TRACE, [part, policy], budgets=budgets)
        self.assertEqual(ours.keys(), own.keys())
        for layer, kept in own.items():
            np.testing.assert_array_equal(ours[layer], kept, f"{policy}, layer {layer}")

    def test_presses_that_look_at_keys_and_values(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # torch's, of memory that must not be written
            self.assert_equal_on_the_shipped_trace(kvpress.KnormPress(), "knorm")
        self.assert_equal_on_the_shipped_trace(kvpress.KeyDiffPress(), "keydiff")
        self.assert_equal_on_the_shipped_trace(kvpress.CURPress(), "cur")
        # Below a quarter its protected tokens are more than the budget, and tie.
        self.assert_equal_on_the_shipped_trace(kvpress.LagKVPress(), "lagkv", budgets=(0.25, 0.5))

    def test_presses_that_look_at_queries(self):
        self.assert_equal_on_the_shipped_trace(kvpress.SnapKVPress(), "snapkv")
        self.assert_equal_on_the_shipped_trace(
            kvpress.SnapKVPress(window_size=32, kernel_size=7), "snapkv:window=32,kernel=7"
        )
        self.assert_equal_on_the_shipped_trace(kvpress.TOVAPress(), "tova")
        self.assert_equal_on_the_shipped_trace(kvpress.NonCausalAttnPress(), "non-causal")

    def test_presses_that_look_at_the_budget_and_at_the_output_projection(self):
        self.assert_equal_on_the_shipped_trace(kvpress.CriticalKVPress(kvpress.SnapKVPress()), "critical-snapkv")
        self.assert_equal_on_the_shipped_trace(kvpress.StreamingLLMPress(), "streaming-llm", budgets=(0.033, 0.1, 0.5))

    def test_the_sets_are_those_of_kvpress_in_the_model(self):
        goldens = read_goldens(FOLDER / "random-kvpress.h5")
        presses = {
            "knorm": kvpress.KnormPress(),
            "keydiff": kvpress.KeyDiffPress(),
            "lagkv-cross": kvpress.LagKVPress(lag_size=32, cross_scoring=True),
            "snapkv": kvpress.SnapKVPress(),
            "tova": kvpress.TOVAPress(),
            "leverage": kvpress.LeverageScorePress(),
            "compactor": kvpress.CompactorPress(),
            "critical-snapkv": kvpress.CriticalKVPress(kvpress.SnapKVPress()),
        }
        parts = [kr.from_kvpress(press, f"its-{name}") for name, press in presses.items()]
        found = self.sets(FOLDER / "random.h5", parts, budgets=[1 - ratio for ratio in RATIOS])
        for name, sets in zip(presses, found, strict=True):
            with self.subTest(press=name):
                golden = goldens[name]
                # Budgets round to the nearest, kvpress rounds down: compared where both come to the same number.
                same = [i for i, ratio in enumerate(RATIOS) if int(403 * (1 - ratio)) == int(403 * (1 - ratio) + 0.5)]
                self.assertGreaterEqual(len(same), 2)
                for kind in (golden.retained, golden.scores, golden.plain):
                    for layer in kind:
                        kind[layer] = kind[layer][same]
                kept = {layer: each[same] for layer, each in sets.items()}
                self.assertEqual([each for each in differences(golden, kept) if each.gap > TIE_TOLERANCE], [])

    def test_a_scorer_takes_allocators_and_a_name(self):
        part = kr.from_kvpress(kvpress.SnapKVPress(), "live")
        self.assertEqual((str(part), part.needs, part.random), ("live", (("queries", 64),), False))
        ours, own = self.sets(TRACE, [f"{part}+ada", "snapkv+ada"], budgets=[0.1, 0.25])
        for layer, kept in own.items():
            np.testing.assert_array_equal(ours[layer], kept, f"layer {layer}")


@needs_kvpress
class Parts(Replayed):
    def test_what_a_press_needs_is_found_by_trying_it(self):
        needs = [
            (kvpress.KnormPress(), ()),
            (kvpress.TOVAPress(), (("queries", 1),)),
            (kvpress.SnapKVPress(window_size=7), (("queries", 7),)),
            (kvpress.NonCausalAttnPress(), (("queries", None),)),
            (kvpress.CriticalKVPress(kvpress.KnormPress()), (("output_projection", None),)),
        ]
        for press, expected in needs:
            self.assertEqual(kr.from_kvpress(press).needs, expected, press)
        self.assertTrue(kr.from_kvpress(kvpress.StreamingLLMPress()).at_budget)
        self.assertTrue(kr.from_kvpress(kvpress.LeverageScorePress()).random)

    def test_what_is_drawn_depends_on_the_seed_alone(self):
        part = kr.from_kvpress(kvpress.RandomPress())
        first, again, other = (self.sets(TRACE, part, budgets=[0.1], seed=seed)[0] for seed in (1, 1, 2))
        self.assertTrue(all(np.array_equal(first[layer], again[layer]) for layer in first))
        self.assertFalse(any(np.array_equal(first[layer], other[layer]) for layer in first))

    def test_settings_and_source_make_the_version_and_the_ratio_does_not(self):
        def version(press: "ScorerPress") -> str:
            return kr.from_kvpress(press).version

        self.assertEqual(version(kvpress.SnapKVPress(0.1)), version(kvpress.SnapKVPress(0.7)))
        self.assertNotEqual(version(kvpress.SnapKVPress()), version(kvpress.SnapKVPress(window_size=63)))
        inner = [kvpress.CriticalKVPress(kvpress.SnapKVPress(window_size=size)) for size in (64, 32)]
        self.assertNotEqual(*map(version, inner))
        self.assertNotEqual(version(kvpress.KnormPress()), version(NegativeNorm()))


@dataclass
class NegativeNorm(ScorerPress):
    def score(self, module, hidden_states, keys, values, attentions, kwargs):
        return keys.norm(dim=-1)


class Wishful(NegativeNorm):
    """Asks for what there is not."""

    wish: str = ""

    def score(self, module, hidden_states, keys, values, attentions, kwargs):
        queries = module.q_proj(hidden_states)
        {
            "before": lambda: None,
            "attribute": lambda: module.k_norm,
            "config": lambda: module.config.rope_theta,
            "argument": lambda: kwargs["cache_position"],
            "optional": lambda: kwargs.get("position_ids"),
            "hidden": lambda: torch.nn.functional.linear(hidden_states, keys[0, 0]),
            "norm": lambda: hidden_states.norm(dim=-1),
            "some": lambda: hidden_states[0],
            "write": lambda: (keys.zero_(), kwargs["position_embeddings"]),
        }[self.wish]()
        return queries.new_zeros(keys.shape[:3])


@needs_kvpress
class Refusals(unittest.TestCase):
    def assert_refused(self, press: object, *words: str) -> None:
        with self.assertRaises(kr.UsageError) as caught:
            kr.from_kvpress(press)
        for word in (*words, *([type(press).__name__] if isinstance(press, kvpress.BasePress) else [])):
            self.assertIn(word, str(caught.exception))
        self.assertNotIn("\n", str(caught.exception))

    def test_what_is_not_there_is_named(self):
        for wish, words in {
            "before": "queries before RoPE",
            "attribute": "module.k_norm",
            "config": "module.config.rope_theta",
            "argument": "'cache_position'",
            "optional": "'position_ids'",
            "hidden": "hidden states",
            "norm": "hidden states (their 'norm')",
            "some": "hidden states",
            "write": "writes into the keys",
        }.items():
            press = Wishful()
            press.wish = wish
            with self.subTest(wish=wish):
                self.assert_refused(press, words)

    def test_presses_that_a_trace_cannot_feed_are_refused_with_the_policy_that_keeps_the_same(self):
        self.assert_refused(kvpress.ExpectedAttentionPress(), "module.rotary_emb", "'expected-attention'")
        self.assert_refused(kvpress.CapPress(), "module.rotary_emb", "'capkv'")
        self.assert_refused(kvpress.ObservedAttentionPress(), "eager", "'attention'")
        self.assert_refused(kvpress.KVzapPress(), "kvzap_model")
        self.assert_refused(kvpress.QFilterPress(), "Q-filters")

    def test_presses_that_choose_by_other_means_are_refused(self):
        self.assert_refused(kvpress.PyramidKVPress(), "compress()", "'snapkv+pyramid'")
        self.assert_refused(kvpress.AdaKVPress(kvpress.SnapKVPress()), "take its scorer, SnapKVPress", "'SCORER+ada'")
        self.assert_refused(kvpress.ThinKPress(), "other means")
        self.assert_refused(3, "expected a press of kvpress, found int")


if __name__ == "__main__":
    unittest.main()
