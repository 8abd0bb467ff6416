"""to_kvpress gives the presses that keep the golden sets, and refuses what has none.

KVREPLAY_PROGRAM=build/kvreplay python3 -m pytest tests/tools/python/kvpress_bridge/to_kvpress_test.py
"""

import tempfile
import unittest
from pathlib import Path
from unittest import mock

import h5py
import torch

import kvreplay as kr
from kvreplay.api.registry import policy_tables
from kvreplay.common.model_loader import load_model, open_model
from kvreplay.kvpress_bridge import press_table
from kvreplay.kvpress_bridge.policy_text import parse_policy
from tests.golden.golden_file import read_goldens
from tests.golden.golden_test import TIE_TOLERANCE
from tests.golden.live_presses import FOLDER, live_presses
from tests.golden.set_difference import differences
from tests.support.python.kvpress_library import needs_kvpress
from tests.support.python.tiny_models import save_tiny_model


@needs_kvpress
class Presses(unittest.TestCase):
    def test_every_row_of_the_golden_table_keeps_the_golden_sets(self):
        from tests.golden.make_golden import LAZY_THRESHOLD, RANDOM_SHAPE, run_press

        torch.set_num_threads(1)
        scratch = self.enterContext(tempfile.TemporaryDirectory())
        model = save_tiny_model(Path(scratch, "random"), "llama", **RANDOM_SHAPE)
        model = load_model(open_model(model, None), "sdpa", "float32", "cpu")
        with h5py.File(FOLDER / "random.h5") as file:
            sample = file["samples/0000"]
            ids = sample["token_ids"][: sample.attrs["decode_start"]]
        goldens = read_goldens(FOLDER / "random-kvpress.h5")
        presses = live_presses("random-gates.tsv", LAZY_THRESHOLD["random"])
        self.assertEqual(
            {name: press.policy for name, press in presses.items()},
            {name: golden.policy for name, golden in goldens.items()},
        )
        for name, press in presses.items():
            with self.subTest(press=name):
                found = run_press(model, ids, press, [0, 1, 2]).retained
                far = [each for each in differences(goldens[name], found) if each.gap > TIE_TOLERANCE]
                self.assertEqual(far, [])

    def test_parameters_are_carried_over(self):
        press = kr.to_kvpress("critical-adakv:window=32,kernel=7", compression_ratio=0.9)
        self.assertEqual(type(press).__name__, "CriticalAdaKVPress")
        self.assertEqual((press.press.window_size, press.press.kernel_size), (32, 7))
        self.assertEqual((press.alpha_safeguard, press.epsilon, press.first_stage_ratio), (0.2, 1e-4, 0.5))
        self.assertEqual(press.compression_ratio, 0.9)
        press = kr.to_kvpress("expected-attention:covariance=no,value_norm=no+ada:alpha=0.5", budget=0.25)
        self.assertEqual(
            (press.press.use_covariance, press.press.use_vnorm, press.alpha_safeguard), (False, False, 0.5)
        )
        self.assertEqual(kr.to_kvpress("compactor:sketch=48", budget=0.5).blending, None)
        self.assertEqual(kr.to_kvpress("compactor:sketch=48,blend=0.3", budget=0.5).blending, 0.3)
        self.assertEqual(kr.to_kvpress("snapkv+uniform", budget=0.5), kr.to_kvpress("snapkv", budget=0.5))
        self.assertEqual(kr.to_kvpress("simlayerkv").lazy_threshold, 0.9)

    def test_every_argument_is_one_of_its_press(self):
        import dataclasses
        import inspect

        import kvpress

        from kvreplay.kvpress_bridge.table_duo_press import TableDuoAttentionPress

        for twin in [*press_table.POLICIES.values(), *press_table.WRAPPERS.values()]:
            own = TableDuoAttentionPress if twin.press == "TableDuoAttentionPress" else getattr(kvpress, twin.press)
            taken = set(inspect.signature(own).parameters) if dataclasses.is_dataclass(own) else set()
            self.assertLessEqual(set(twin.arguments.values()), taken, twin.press)

    def test_gates_of_another_shape_are_refused(self):
        path = Path(self.enterContext(tempfile.TemporaryDirectory()), "gates.tsv")
        model = mock.Mock()
        config = model.config.get_text_config.return_value
        config.num_hidden_layers, config.num_key_value_heads = 2, 3
        press = kr.to_kvpress(f"streaming-llm:sinks=8+duo:table={path},sinks=8,recent=48", budget=0.5)
        for text in (None, "1 2 3\n", "a b c\n"):
            if text is not None:
                path.write_text(text)
            with self.assertRaisesRegex(kr.InputError, "gates.tsv"):
                press.post_init_from_model(model)


class Refusals(unittest.TestCase):
    def assert_refused(self, policy: str, *words: str, **settings: float) -> None:
        with self.assertRaises(kr.UsageError) as caught:
            kr.to_kvpress(policy, **(settings or {"budget": 0.25}))
        for word in words:
            self.assertIn(word, str(caught.exception))
        self.assertNotIn("\n", str(caught.exception))

    def test_policies_without_a_press_are_refused_with_the_nearest_that_has_one(self):
        self.assert_refused("h2o", "'h2o'", "'attention' (ObservedAttentionPress)")
        self.assert_refused("snapkv+squeeze+ada", "'snapkv+ada' (AdaKVPress)")
        self.assert_refused("snapkv:pooling=max,window=32", "pooling=max", "'snapkv:window=32' (SnapKVPress)")
        self.assert_refused("snapkv+ada:safeguard=interp", "ada: safeguard=interp", "'snapkv+ada'")
        self.assert_refused("leverage", "sketch=all", "'leverage:sketch=48'")
        self.assert_refused("duoattention", "table=measured", "'streaming-llm:sinks=128+duo:table=FILE'")
        self.assert_refused("streaming-llm:sinks=2+simlayer", "sinks=2", "'streaming-llm+simlayer'")
        self.assert_refused("streaming-llm+ada", "'streaming-llm'")
        self.assert_refused("oracle", "RetainedPress")
        self.assert_refused("random", "RetainedPress")

    def test_unknown_names_are_refused_with_the_nearest(self):
        self.assert_refused("snapkw", "did you mean 'snapkv'")
        self.assert_refused("snapkv+adda", "did you mean 'ada'")
        self.assert_refused("snapkv:windw=32", "did you mean 'window'")
        self.assert_refused("snapkv:dialect=kvpres", "did you mean 'kvpress'")
        self.assert_refused("snapkv:window", "PARAMETER=VALUE")
        self.assert_refused("", "unknown")

    def test_budgets_of_no_use_are_refused(self):
        self.assert_refused("snapkv", "exclude", budget=0.9, compression_ratio=0.1)
        self.assert_refused("snapkv", "budget", "0", budget=0)
        self.assert_refused("snapkv", "budget", "64", budget=64)
        self.assert_refused("snapkv", "compression_ratio", "1", compression_ratio=1)
        self.assert_refused("snapkv", "name a budget", budget=None)

    def test_without_kvpress_the_error_says_how_to_get_it(self):
        with mock.patch.dict("sys.modules", {"kvpress": None}):
            self.assert_refused("snapkv", "pip install kvpress")
            with self.assertRaisesRegex(kr.UsageError, "pip install kvpress"):
                kr.from_kvpress(object())


class Parsing(unittest.TestCase):
    def parsed(self, text: str) -> str:
        return "+".join(map(str, parse_policy(text, policy_tables())))

    def test_presets_are_written_in_full(self):
        self.assertEqual(self.parsed("ada-snapkv"), "snapkv+ada")
        self.assertEqual(self.parsed("ada-snapkv:window=32"), "snapkv:window=32+ada")
        self.assertEqual(
            self.parsed("ada-expected-attention:sinks=2"), self.parsed("expected-attention:sinks=2,epsilon=0.01+ada")
        )
        self.assertEqual(self.parsed("kvzip"), "kvzip+global")
        self.assertEqual(self.parsed("kvzip+uniform"), "kvzip")  # the scorer: the preset means it where it is alone
        self.assertEqual(self.parsed("snapkv:dialect=original"), "snapkv:window=32,group=none")

    def test_a_path_in_quotes_may_hold_any_sign(self):
        self.assertEqual(
            parse_policy('streaming-llm+duo:table="a,b+c.tsv"', policy_tables())[1].values["table"], "a,b+c.tsv"
        )

    def test_the_table_knows_every_parameter_of_its_policies_by_its_name(self):
        tables = policy_tables()
        known = {
            f"{row['name']}.{each['name']}"
            for kind in ("scorers", "modifiers", "allocators")
            for row in tables[kind]
            for each in row["parameters"]
        }
        for twin in [*press_table.POLICIES.values(), *press_table.WRAPPERS.values()]:
            named = {*twin.arguments, *twin.free, *twin.advice, *(twin.equal or ())}
            self.assertLessEqual(named, known)
        scorers = {row["name"] for row in tables["scorers"]}
        self.assertLessEqual({*press_table.NEAREST, *press_table.NEAREST.values(), *press_table.WRAPPED}, scorers)


if __name__ == "__main__":
    unittest.main()
