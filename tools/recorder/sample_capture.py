"""Collects one sample's queries, keys and values while the model runs, checking each as it comes."""

from __future__ import annotations

import torch

from .attention_hook import AttentionCall
from .attention_mask import check_mask
from .errors import InputError
from .model_survey import LayerFacts, ModelFacts
from .residual_stream import ResidualStream
from .rotary_embedding import RotationWitness, check_rotation
from .sample_plan import SamplePlan


class LayerBuffers:
    """One layer of one sample, in the dtype of the trace; allocated once, filled as the passes come."""

    def __init__(self, facts: ModelFacts, layer: LayerFacts, plan: SamplePlan, dtype: torch.dtype):
        self.queries = torch.empty(facts.n_q_heads, plan.n_recorded, facts.head_dim, dtype=dtype)
        self.keys = torch.empty(facts.n_kv_heads, plan.n_tokens, facts.head_dim, dtype=dtype)
        self.values = torch.empty(facts.n_kv_heads, plan.n_tokens, facts.value_dim, dtype=dtype)
        self.block_cosine = torch.empty(plan.n_tokens, dtype=torch.float32) if layer.block is not None else None
        self.largest = {"queries": 0.0, "keys": 0.0, "values": 0.0}


class SampleCapture:
    """The listener of the attention hook for one sample. Use between begin_pass() and end_pass() of each forward."""

    def __init__(self, facts: ModelFacts, plan: SamplePlan, dtype: torch.dtype, witness: RotationWitness):
        self.layers = {layer.index: LayerBuffers(facts, layer, plan, dtype) for layer in facts.layers}
        self._facts = {layer.index: layer for layer in facts.layers}
        self._shape = (1, facts.n_q_heads, facts.n_kv_heads, facts.softmax_scale, facts.logit_softcap)
        self._plan = plan
        self._dtype = dtype
        self._witness = witness
        self._streams = {layer.index: ResidualStream(layer.block) for layer in facts.layers if layer.block is not None}
        # Row of each position among the recorded queries, -1 where none is recorded.
        self._query_rows = torch.full((plan.n_tokens,), -1, dtype=torch.long)
        positions = torch.cat([torch.arange(begin, end) for begin, end in plan.query_ranges])
        self._query_rows[positions] = torch.arange(plan.n_recorded)
        self._first = self._n_new = 0  # of the running pass
        self._called: set[int] = set()
        self._checked_masks: dict[tuple, object] = {}

    def __enter__(self) -> SampleCapture:
        for stream in self._streams.values():
            stream.attach()
        return self

    def __exit__(self, *error) -> None:
        for stream in self._streams.values():
            stream.detach()

    def begin_pass(self, first_position: int, n_new: int) -> None:
        """A forward pass over the positions [first_position, first_position + n_new) follows."""
        self._first, self._n_new = first_position, n_new
        self._called.clear()
        self._checked_masks.clear()

    def end_pass(self) -> None:
        missing = sorted(set(self.layers) - self._called)
        if missing:
            raise InputError(f"layer {missing[0]} did not attend at position {self._first}")
        for index, stream in self._streams.items():
            cosine = stream.cosine().cpu()
            if not bool(torch.isfinite(cosine).all()):
                raise InputError(f"layer {index}: the residual stream holds NaN or infinity")
            self.layers[index].block_cosine[self._first : self._first + self._n_new] = cosine
            stream.before = stream.after = None

    def listen(self, call: AttentionCall) -> None:
        """Takes over the new queries, keys and values of one layer."""
        new = call.new_tokens()
        rotation = self._witness.take(new["keys"], call.layer)
        if call.layer not in self.layers:
            return
        layer, buffers = self._facts[call.layer], self.layers[call.layer]
        self._check_shapes(call, layer)
        self._check_mask_once(call, layer.sliding_window)
        if layer.rope is not None and layer.rope.inv_freq.any():
            if rotation is None:
                raise InputError(f"layer {call.layer}: its keys are not rotated at position {self._first}")
            check_rotation(rotation, layer.rope, self._first, call.layer)

        tokens = slice(self._first, self._first + self._n_new)
        rows = self._query_rows[tokens]
        recorded = rows >= 0
        self._store(buffers, "queries", new["queries"][:, recorded.to(call.query.device)], rows[recorded], call.layer)
        positions = torch.arange(tokens.start, tokens.stop)
        self._store(buffers, "keys", new["keys"], positions, call.layer)
        self._store(buffers, "values", new["values"], positions, call.layer)
        if tokens.stop == self._plan.n_tokens:
            self._check_cache(call, buffers)
        self._called.add(call.layer)

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

    def _store(self, buffers: LayerBuffers, name: str, rows: torch.Tensor, at: torch.Tensor, layer: int) -> None:
        """Writes `rows` [heads, n, dim] to the positions `at` [n] of a buffer, refusing what its dtype cannot hold."""
        if rows.shape[1] == 0:
            return
        largest = float(rows.abs().max())
        limit = torch.finfo(self._dtype).max
        if largest > limit:
            raise InputError(
                f"layer {layer}: {name} reach {largest:.6g}, beyond {_name(self._dtype)} ({limit:.6g}); "
                "record with --dtype bfloat16 or float32"
            )
        buffers.largest[name] = max(buffers.largest[name], largest)
        getattr(buffers, name)[:, at] = rows.to(self._dtype).cpu()

    def _check_cache(self, call: AttentionCall, buffers: LayerBuffers) -> None:
        """At the last pass: is the cache still what was recorded?"""
        for name, tensor in (("keys", call.key), ("values", call.value)):
            n_keys = tensor.shape[2]
            if not torch.equal(tensor[0].to(self._dtype).cpu(), getattr(buffers, name)[:, -n_keys:]):
                raise InputError(
                    f"layer {call.layer}: the cached {name} change while decoding, which a trace cannot say"
                )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
