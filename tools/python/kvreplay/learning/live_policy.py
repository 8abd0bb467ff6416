"""A learned policy (docs/formats/learned.md) at work in a Hugging Face model, without kvreplay: reads the keys and values of
a prompt's whole cache, scores them by the networks, and splits the total over heads by the file's budget table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ..common.attention_hook import AttentionHook
from ..common.errors import InputError
from ..common.inspected_file import open_inspected
from ..common.model_survey import survey_model
from ..common.prefix_cache import branch_of
from ..common.rotary_embedding import RotationWitness
from .features import FEATURES, token_features
from .head_budgets import HeadBudgets
from .held_out import keep_best
from .lkv_file import read_networks
from .trace_input import LayerTensors, ModelShape
from .training_set import KEEP_FIRST


class LivePolicy:
    """Networks and budgets of a file, ready for one model."""

    def __init__(self, path: Path, model, hook: AttentionHook, with_budgets: bool = True):
        """with_budgets: split by the file's budget table, where it has one; else evenly"""
        self.networks = read_networks(path)
        with open_inspected(path) as file:
            self.layers = file.attrs["layers"].tolist()
            if file["scorer"].attrs["features"] != FEATURES:
                raise InputError(f"{path}: a scorer with features {file['scorer'].attrs['features']}, not {FEATURES}")
            has_budgets = with_budgets and "budget" in file
            heads = {
                name: int(file.attrs[name]) for name in ("n_layers", "n_q_heads", "n_kv_heads", "head_dim", "value_dim")
            }
        self.table = HeadBudgets.read(path) if has_budgets else None
        if self.table is not None and self.table.keep_first > KEEP_FIRST:
            raise InputError(f"{path}: its heads keep the first {self.table.keep_first} tokens, here {KEEP_FIRST}")
        with RotationWitness(model) as witness:
            facts = survey_model(model, hook, witness, self.layers, with_projection=False)
        for name, value in heads.items():
            if getattr(facts, name) != value:
                raise InputError(f"{path}: {name} is {value}, the model's is {getattr(facts, name)}")
        self._facts = facts.layers
        self._shape = ModelShape("", facts.n_layers, tuple(self.layers), facts.n_q_heads, facts.n_kv_heads,
                                 facts.head_dim, facts.value_dim, facts.softmax_scale, facts.logit_softcap)  # fmt: skip

    def budgets(self, kept: float, length: int) -> np.ndarray:
        """Tokens of each head, [n_layers, n_kv_heads]."""
        if self.table is None:
            return np.full((len(self.layers), self._shape.n_kv_heads), round(kept * length))
        return self.table.tokens(kept, length)

    @torch.no_grad()
    def retained_sets(self, cache, length: int, kept: float) -> dict[int, torch.Tensor]:
        """By layer, bool [n_kv_heads, length]: which prompt tokens stay."""
        sets, budgets = {}, self.budgets(kept, length)
        for index, (layer, network, facts) in enumerate(zip(self.layers, self.networks, self._facts)):
            if facts.sliding_window > 0:  # what a sliding layer holds, it keeps
                continue
            keys, values = cache.layers[layer].keys[0].float().cpu(), cache.layers[layer].values[0].float().cpu()
            nothing = torch.zeros(0)
            tensors = LayerTensors(nothing, keys, values, nothing, nothing, 0, facts.rope)
            scores = network(token_features(tensors, length, self._shape, False))
            rows = [keep_best(scores[head : head + 1], int(n)) for head, n in enumerate(budgets[index])]
            sets[layer] = torch.cat(rows).bool()
        return sets


@torch.inference_mode()
def decode(
    model, hook: AttentionHook, first: int, cache, n_tokens: int, retained: dict[int, torch.Tensor]
) -> list[int]:
    """Greedy tokens after `first`, the prompt's tokens hidden but for the retained ones."""
    ids, cache = [first], branch_of(cache)
    for step in range(n_tokens - 1):
        seen = {layer: torch.nn.functional.pad(kept, (0, step), value=True) for layer, kept in retained.items()}
        hook.retained = seen  # decoded tokens always stay
        out = model(input_ids=torch.tensor([[ids[-1]]], device=model.device), past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        ids.append(int(out.logits[0, -1].argmax()))
    hook.retained = {}
    return ids
