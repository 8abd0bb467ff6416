"""HeadBudgetPress gives the heads of a live model the budgets of a file, and keeps what a replay keeps under them.

KVREPLAY_PROGRAM=build/kvreplay python3 -m pytest tests/tools/python/kvpress_bridge/head_budget_press_test.py
"""

import h5py
import numpy as np
import torch
from transformers import AutoModelForCausalLM, DynamicCache

import kvreplay as kr
from kvreplay.common.kvreplay_program import run_kvreplay
from kvreplay.learning.head_budgets import HeadBudgets
from tests.support.python.kvpress_library import needs_kvpress
from tests.support.python.recording import TEXT, RecorderTest

try:
    import kvpress
except ImportError:  # the tests are skipped
    kvpress = None

BUDGET = 0.5


@needs_kvpress
class HeadBudgetPress(RecorderTest):
    """`table`: head budgets that were fitted to `recorded`, prompts of a tiny model."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        test = cls("test_heads_get_the_budgets_of_the_file")
        prompts = [{"name": "a", "text": TEXT}, {"name": "b", "text": TEXT.replace("cat", "mat in the hat")}]
        test.record("--sensitivity", 4, prompts=test.prompts(*prompts))
        cls.recorded, cls.table = test.trace(), cls.folder / "table.h5"
        run_kvreplay(["fit-budgets", str(cls.recorded), "--scorer", "snapkv:window=8", "-o", str(cls.table)])
        with h5py.File(cls.recorded) as file:
            sample = file["samples/0000"]
            cls.n_prompt = int(sample.attrs["decode_start"])
            cls.ids = torch.from_numpy(sample["token_ids"][: cls.n_prompt].astype(np.int64))[None]

    def kept(self, press: object, kind: str = "llama", attention: str = "sdpa", ids: torch.Tensor | None = None):
        """What the press leaves in the model, bool [n_layers, n_heads, n_prompt]."""
        model = AutoModelForCausalLM.from_pretrained(self.model(kind), attn_implementation=attention).eval()
        with torch.no_grad(), press(model):
            model.model(input_ids=self.ids if ids is None else ids, past_key_values=DynamicCache())
        kept = np.ones((3, 2, self.n_prompt), dtype=bool)
        for layer, block in enumerate(model.model.layers):
            if getattr(block.self_attn, "masked_key_indices", None) is not None:
                _, heads, tokens = block.self_attn.masked_key_indices
                kept[layer, heads.numpy(), tokens.numpy()] = False
        return kept

    def press(self, budget: float = BUDGET, **settings: int):
        return kr.HeadBudgetPress(self.table, kvpress.SnapKVPress(window_size=8, **settings), budget)

    def test_heads_get_the_budgets_of_the_file(self):
        expected = HeadBudgets.read(self.table).tokens(BUDGET, self.n_prompt)
        np.testing.assert_array_equal(self.kept(self.press()).sum(axis=2), expected)
        self.assertGreater(len(set(expected.ravel().tolist())), 1)
        self.assertEqual(self.press().tokens(self.n_prompt), dict(enumerate(expected.tolist())))

    def test_they_keep_what_a_replay_keeps(self):
        path, policy = self.folder / "sets.h5", f"snapkv:window=8+learned:table={self.table},trained=allow"
        kr.replay(self.recorded, policy, BUDGET, compression_points="prompt", samples="a", retained=path)
        sets = kr.retained(path)
        np.testing.assert_array_equal(self.kept(self.press()), sets.array(policy=sets.policies[0]).values[0])

    def test_the_ratio_can_be_set_as_that_of_other_presses(self):
        press = self.press(0.7)
        press.compression_ratio = 1 - BUDGET
        np.testing.assert_array_equal(self.kept(press), self.kept(self.press()))
        self.assertEqual(press.press.compression_ratio, 1 - BUDGET)
        self.assertTrue(self.kept(self.press(1)).all())

    def test_what_does_not_fit_is_refused(self):
        for budget in (0, -1, 1.5, 64):
            with self.assertRaisesRegex(kr.UsageError, f"found {budget:g}"):
                self.press(budget)
        with self.assertRaisesRegex(kr.UsageError, "ScorerPress.*AdaKVPress"):
            kr.HeadBudgetPress(self.table, kvpress.AdaKVPress(kvpress.SnapKVPress()), BUDGET)
        with self.assertRaisesRegex(kr.InputError, "nowhere.h5"):
            kr.HeadBudgetPress(self.folder / "nowhere.h5", kvpress.KnormPress(), BUDGET)
        with self.assertRaisesRegex(kr.InputError, "format"):
            kr.HeadBudgetPress(self.recorded, kvpress.KnormPress(), BUDGET)
        with self.assertRaisesRegex(kr.UsageError, "eager"):
            self.kept(self.press(), attention="eager")
        with self.assertRaisesRegex(kr.UsageError, "a batch of 2"):
            self.kept(self.press(), ids=self.ids.repeat(2, 1))

    def test_another_model_is_refused(self):
        other = self.folder / "other.h5"
        other.write_bytes(self.table.read_bytes())
        with h5py.File(other, "r+") as file:
            file.attrs["n_q_heads"] = 8
        with self.assertRaisesRegex(kr.InputError, "n_q_heads is 8, the model's is 4"):
            self.kept(kr.HeadBudgetPress(other, kvpress.KnormPress(), BUDGET))
