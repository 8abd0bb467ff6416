"""Checks each attention call of a forward pass against what the survey found out about the model."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..common.attention_hook import AttentionCall, refuse_infinite
from ..common.errors import InputError
from ..common.model_survey import LayerFacts, ModelFacts
from ..common.rotary_embedding import Rotation, RotationWitness, check_rotation
from .attention_mask import check_mask


@dataclass
class NewTokens:
    """What one layer adds in one pass or in several: queries, keys and values [heads, n_new, dim], and how the keys
    were rotated."""

    tensors: dict[str, torch.Tensor]
    rotation: Rotation | None

    @classmethod
    def joined(cls, parts: list[NewTokens]) -> NewTokens:
        """Of passes that follow each other."""
        tensors = {name: torch.cat([part.tensors[name] for part in parts], dim=1) for name in parts[0].tensors}
        if any(part.rotation is None for part in parts):
            return cls(tensors, None)
        sides = (torch.cat([getattr(part.rotation, side) for part in parts], dim=1) for side in ("before", "after"))
        return cls(tensors, Rotation(*sides))


class PassChecks:
    """Use accept() on every call between begin_pass() and end_pass(); or check_call() at once and check_values() later."""

    def __init__(self, facts: ModelFacts, witness: RotationWitness):
        self._layers = {layer.index: layer for layer in facts.layers}
        self._shape = (1, facts.n_q_heads, facts.n_kv_heads, facts.softmax_scale, facts.logit_softcap)
        self._witness = witness
        self._first = self._n_new = 0  # of the running pass
        self._called: set[int] = set()
        self._checked_masks: dict[tuple, object] = {}

    def begin_pass(self, first_position: int, n_new: int) -> None:
        """A forward pass over the positions [first_position, first_position + n_new) follows."""
        self._first, self._n_new = first_position, n_new
        self._called.clear()
        self._checked_masks.clear()

    def end_pass(self) -> None:
        missing = sorted(set(self._layers) - self._called)
        if missing:
            raise InputError(f"layer {missing[0]} did not attend at position {self._first}")

    def accept(self, call: AttentionCall) -> dict[str, torch.Tensor] | None:
        """The new queries, keys and values of a layer, [heads, n_new, dim]; None for a layer that is not recorded."""
        new = call.new_tokens()
        refuse_infinite(call.layer, new)
        rotation = self._witness.take(new["keys"][None], call.layer)
        if call.layer not in self._layers:
            return None
        tokens = NewTokens(new, None if rotation is None else rotation.of_row(0))
        self.check_call(call, tokens.rotation)
        self.check_values(call.layer, tokens, self._first)
        return new

    def check_call(self, call: AttentionCall, rotation: Rotation | None) -> None:
        """Shapes and mask of a recorded layer's call, and whether it rotates its keys at all."""
        layer = self._layers[call.layer]
        self._check_shapes(call, layer)
        self._check_mask_once(call, layer.sliding_window)
        if rotation is None and layer.rope is not None and layer.rope.inv_freq.any():
            raise InputError(f"layer {call.layer}: its keys are not rotated at position {self._first}")
        self._called.add(call.layer)

    def check_values(self, index: int, new: NewTokens, first_position: int, every_row: bool = False) -> None:
        """Are the tensors of a layer finite, and is each key rotated as its position says? `every_row`: not a few."""
        refuse_infinite(index, new.tensors)
        layer = self._layers[index]
        if layer.rope is not None and layer.rope.inv_freq.any():
            check_rotation(new.rotation, layer.rope, first_position, index, every_row)

    def _check_shapes(self, call: AttentionCall, layer: LayerFacts) -> None:
        shape = (call.query.shape[0], call.query.shape[1], call.key.shape[1], call.scaling, call.softcap)
        if call.layer in self._called or call.query.shape[2] != self._n_new or call.key.shape[2] < self._n_new:
            raise InputError(f"layer {call.layer} does not attend once per token and pass")
        if shape != self._shape or call.window != layer.sliding_window:
            raise InputError(f"layer {call.layer}: its heads, softmax scale, softcap or window change between passes")

    def _check_mask_once(self, call: AttentionCall, window: int) -> None:
        """Layers of one type share a mask object; the dictionary keeps it alive, so that its id stays its own."""
        n_keys = call.key.shape[2]
        key = (id(call.mask), window, n_keys, call.causal)
        if key not in self._checked_masks:
            check_mask(call.mask, self._n_new, n_keys, self._first + self._n_new, window, call.causal, call.layer)
            self._checked_masks[key] = call.mask
