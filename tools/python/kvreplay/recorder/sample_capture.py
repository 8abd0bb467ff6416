"""Collects one sample's queries, keys and values while the model runs, checking each as it comes."""

from __future__ import annotations

import torch

from ..common.attention_hook import AttentionCall
from ..common.errors import InputError
from ..common.model_survey import LayerFacts, ModelFacts
from ..common.residual_stream import ResidualStream
from ..common.rotary_embedding import RotationWitness
from .layer_buffers import LayerBuffers
from .pass_checks import PassChecks
from .sample_plan import SamplePlan


def sample_buffers(facts: ModelFacts, layer: LayerFacts, plan: SamplePlan, dtype: torch.dtype) -> LayerBuffers:
    buffers = LayerBuffers(
        layer.index,
        {
            "queries": (facts.n_q_heads, plan.n_recorded, facts.head_dim),
            "keys": (facts.n_kv_heads, plan.n_tokens, facts.head_dim),
            "values": (facts.n_kv_heads, plan.n_tokens, facts.value_dim),
        },
        dtype,
    )
    if layer.block is not None:
        buffers.block_cosine = torch.empty(plan.n_tokens, dtype=torch.float32)
    return buffers


class SampleCapture:
    """The listener of the attention hook for one sample. Use between begin_pass() and end_pass() of each forward."""

    def __init__(self, facts: ModelFacts, plan: SamplePlan, dtype: torch.dtype, witness: RotationWitness):
        self.layers = {layer.index: sample_buffers(facts, layer, plan, dtype) for layer in facts.layers}
        self._checks = PassChecks(facts, witness)
        self._plan = plan
        self._dtype = dtype
        self._streams = {layer.index: ResidualStream(layer.block) for layer in facts.layers if layer.block is not None}
        # Row of each position among the recorded queries, -1 where none is recorded.
        self._query_rows = torch.full((plan.n_tokens,), -1, dtype=torch.long)
        positions = torch.cat([torch.arange(begin, end) for begin, end in plan.query_ranges])
        self._query_rows[positions] = torch.arange(plan.n_recorded)
        self._tokens = slice(0, 0)  # positions of the running pass
        self.forward_begins: list[int] = []  # first position of each pass

    def __enter__(self) -> SampleCapture:
        for stream in self._streams.values():
            stream.attach()
        return self

    def __exit__(self, *error) -> None:
        for stream in self._streams.values():
            stream.detach()

    def begin_pass(self, first_position: int, n_new: int) -> None:
        """A forward pass over the positions [first_position, first_position + n_new) follows."""
        self.forward_begins.append(first_position)
        self._tokens = slice(first_position, first_position + n_new)
        self._checks.begin_pass(first_position, n_new)

    def end_pass(self) -> None:
        self._checks.end_pass()
        for index, stream in self._streams.items():
            cosine = stream.cosine().cpu()
            if not bool(torch.isfinite(cosine).all()):
                raise InputError(f"layer {index}: the residual stream holds NaN or infinity")
            self.layers[index].block_cosine[self._tokens] = cosine
            stream.before = stream.after = None

    def listen(self, call: AttentionCall) -> None:
        """Takes over the new queries, keys and values of one layer."""
        new = self._checks.accept(call)
        if new is None:
            return
        buffers = self.layers[call.layer]
        rows = self._query_rows[self._tokens]
        recorded = rows >= 0
        buffers.store("queries", new["queries"][:, recorded.to(call.query.device)], rows[recorded])
        positions = torch.arange(self._tokens.start, self._tokens.stop)
        buffers.store("keys", new["keys"], positions)
        buffers.store("values", new["values"], positions)
        if self._tokens.stop == self._plan.n_tokens:
            self._check_cache(call, buffers)

    def _check_cache(self, call: AttentionCall, buffers: LayerBuffers) -> None:
        """At the last pass: is the cache still what was recorded?"""
        for name, tensor in (("keys", call.key), ("values", call.value)):
            n_keys = tensor.shape[2]
            if not torch.equal(tensor[0].to(self._dtype).cpu(), buffers.tensors[name][:, -n_keys:]):
                raise InputError(
                    f"layer {call.layer}: the cached {name} change while decoding, which a trace cannot say"
                )
