"""Runs a press inside a model and catches which tokens it keeps."""

from __future__ import annotations

import numpy as np
import torch
from kvpress import KVzipPress
from kvpress.presses.scorer_press import ScorerPress
from transformers import DynamicCache


class PressRun:
    """One prefill of `model` on `ids` [n] under a press; afterwards `retained`, `scores` and `plain`, by layer."""

    def __init__(self, model, ids: np.ndarray, press):
        self.retained: dict[int, np.ndarray] = {}  # bool [n_kv_heads, n]
        self.scores: dict[int, np.ndarray] = {}  # [n_kv_heads, n], of the press itself
        self.plain: dict[int, np.ndarray] = {}  # [n_kv_heads, n], of the press inside it
        if isinstance(press, KVzipPress):
            self._watch_compress_post(press)
        else:
            self._watch_compress(press)
        if isinstance(press, ScorerPress):
            _watch_score(press, self.scores)
        if hasattr(press, "press"):
            _watch_score(press.press, self.plain)
        tokens = torch.from_numpy(ids.astype(np.int64))[None]
        with torch.no_grad(), press(model):
            model.model(input_ids=tokens, past_key_values=DynamicCache(), use_cache=True)

    def _watch_compress(self, press) -> None:
        original = press.compress

        def watched(module, hidden_states, keys, values, attentions, kwargs):
            module.masked_key_indices = None
            kept, kept_values = original(module, hidden_states, keys, values, attentions, kwargs)
            if module.masked_key_indices is None:
                self.retained[module.layer_idx] = _positions_of(kept[0], keys[0])
            else:
                self.retained[module.layer_idx] = _unmasked(module.masked_key_indices, keys.shape[1:3])
            return kept, kept_values

        press.compress = watched

    def _watch_compress_post(self, press: KVzipPress) -> None:
        """KVzip decides for all layers at once, after its passes over the whole cache."""
        original = press.compress_post

        def watched(model):
            original(model)
            for layer, scores in enumerate(press.score_val[:, 0]):
                self.scores[layer] = scores.numpy().copy()
                masked = model.model.layers[layer].self_attn.masked_key_indices
                self.retained[layer] = _unmasked(masked, scores.shape)

        press.compress_post = watched


def _watch_score(scorer: ScorerPress, scores_by_layer: dict[int, np.ndarray]) -> None:
    original = scorer.score

    def watched(module, *arguments, **named):
        scores = original(module, *arguments, **named)
        scores_by_layer[module.layer_idx] = scores[0].numpy().copy()  # AdaKV writes into its scores
        return scores

    scorer.score = watched


def _positions_of(kept: torch.Tensor, keys: torch.Tensor) -> np.ndarray:
    """Which of `keys` [n_kv_heads, n, dim] are in `kept` [n_kv_heads, n_kept, dim], bit by bit."""
    retained = np.zeros(keys.shape[:2], dtype=bool)
    for head in range(len(keys)):
        wanted = {key.tobytes() for key in kept[head].numpy()}
        retained[head] = [key.tobytes() in wanted for key in keys[head].numpy()]
        if retained[head].sum() != len(kept[head]):
            raise RuntimeError("two tokens have the same key: the kept ones cannot be told")
    return retained


def _unmasked(masked: tuple, shape: tuple[int, int]) -> np.ndarray:
    """Head-wise presses remove nothing, they mask (sample, head, token)."""
    retained = np.ones(shape, dtype=bool)
    retained[masked[1].numpy(), masked[2].numpy()] = False
    return retained
