"""The checks on single attention calls: masks, differences between layers, shared keys."""

import unittest

import torch

from kvreplay.common.attention_hook import AttentionCall, softcapped_attention
from kvreplay.common.errors import InputError
from kvreplay.common.model_survey import _refuse_differences, _refuse_extras, _refuse_shared_cache
from kvreplay.recorder.attention_mask import check_mask, expected_visibility
from tests.support.python import recording  # noqa: F401  (first: it silences the libraries)


def mask_of(rows: list[str]) -> torch.Tensor:
    """Boolean [1, 1, n_new, n_keys] from rows of '#' (seen) and '.'."""
    return torch.tensor([[[[cell == "#" for cell in row] for row in rows]]])


def call(
    layer: int, n_q_heads: int = 4, n_kv_heads: int = 2, scaling: float = 0.5, extras=None, seed: int = 0
) -> AttentionCall:
    make = torch.Generator().manual_seed(seed)
    query = torch.randn(1, n_q_heads, 3, 8, generator=make)
    key, value = (torch.randn(1, n_kv_heads, 3, 8, generator=make) for _ in range(2))
    return AttentionCall(
        layer, torch.nn.Identity(), query, key, value, None, scaling, 0.0, 0, True, extras or {}, query
    )


class AttentionMasks(unittest.TestCase):
    def check(self, mask, n_new, n_keys, n_seen, window=0, causal=True):
        check_mask(mask, n_new, n_keys, n_seen, window, causal, layer=5)

    def refused(self, *arguments, **named):
        with self.assertRaisesRegex(InputError, "layer 5"):
            self.check(*arguments, **named)

    def test_causal_masks_pass(self):
        rows = ["#...", "##..", "###.", "####"]
        self.check(mask_of(rows), 4, 4, 4)
        self.check(torch.where(mask_of(rows), 0.0, torch.finfo(torch.float32).min), 4, 4, 4)
        self.check(None, 4, 4, 4)
        self.check(None, 1, 9, 9)

    def test_windows_pass(self):
        self.check(mask_of(["#...", "##..", ".##.", "..##"]), 4, 4, 4, window=2)
        self.check(mask_of(["##"]), 1, 2, 9, window=2)
        self.check(None, 1, 2, 9, window=2)  # the cache of a sliding layer holds the window only
        self.check(None, 2, 2, 2, window=4)

    def test_other_masks_do_not(self):
        self.refused(mask_of(["####", "####", "####", "####"]), 4, 4, 4)  # sees the future
        self.refused(mask_of(["#...", "##..", "..#.", "..##"]), 4, 4, 4, window=2)  # chunks
        self.refused(mask_of(["#...", "##..", "###.", "####"]), 4, 4, 4, window=2)
        self.refused(mask_of(["###"]), 1, 3, 9, window=2)
        self.refused(None, 4, 4, 4, causal=False)
        self.refused(None, 4, 4, 4, window=2)
        self.refused(None, 1, 8, 9)
        self.refused(mask_of(["#"]), 1, 2, 2)

    def test_a_bias_is_called_one(self):
        with self.assertRaisesRegex(InputError, "adds a bias"):
            self.check(torch.tensor([[[[0.0, -1e9], [-0.5, 0.0]]]]), 2, 2, 2)


class LayerChecks(unittest.TestCase):
    def test_layers_must_agree(self):
        _refuse_differences([call(0), call(1)])
        with self.assertRaisesRegex(InputError, "key heads differ: 2 in layer 0, 4 in layer 1"):
            _refuse_differences([call(0), call(1, n_kv_heads=4)])
        with self.assertRaisesRegex(InputError, "softmax scales differ: 0.5 in layer 0, 0.25 in layer 2"):
            _refuse_differences([call(0), call(2, scaling=0.25)])
        with self.assertRaisesRegex(InputError, "evenly"):
            _refuse_differences([call(0, n_q_heads=3)])

    def test_layers_must_have_keys_of_their_own(self):
        _refuse_shared_cache({0: call(0), 1: call(1, seed=1)})
        with self.assertRaisesRegex(InputError, "layers 0 and 1 share their keys"):
            _refuse_shared_cache({0: call(0), 1: call(1)})

    def test_unknown_tensors_are_refused_and_harmless_ones_are_not(self):
        _refuse_extras(call(0, extras={"position_ids": torch.arange(3), "use_cache": True, "s_aux": None}))
        for name, words in (("s_aux", "attention sinks"), ("position_bias", "'position_bias'")):
            with self.assertRaisesRegex(InputError, words):
                _refuse_extras(call(4, extras={name: torch.ones(3)}))


class SoftcappedAttention(unittest.TestCase):
    def test_it_is_plain_attention_when_the_cap_is_far_away(self):
        one = call(0)
        expected = torch.nn.functional.scaled_dot_product_attention(
            one.query, one.key, one.value, is_causal=True, scale=0.5, enable_gqa=True
        ).transpose(1, 2)
        for mask in (None, expected_visibility(0, 3, 3, 3, 3, 0)[None, None]):
            found = softcapped_attention(one.query, one.key, one.value, mask, 0.5, 1e6)
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
