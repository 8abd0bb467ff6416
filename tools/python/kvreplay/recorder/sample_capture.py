"""Collects one sample's queries, keys and values while the model runs, and checks them."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..common.attention_hook import AttentionCall
from ..common.errors import InputError
from ..common.model_survey import LayerFacts, ModelFacts
from ..common.residual_stream import stream_cosine
from ..common.rotary_embedding import Rotation, RotationWitness
from .layer_buffers import LayerBuffers
from .pass_checks import NewTokens, PassChecks
from .sample_plan import SamplePlan

BLOCK = 64  # passes of one token whose values are checked and stored together: one by one they cost several times that

ChosenQueries = Callable[[int, int], torch.Tensor]


def planned_queries(plan: SamplePlan) -> ChosenQueries:
    """Those of the plan: for the positions [first, first + n_new) of a pass, bool [n_new]."""
    recorded = torch.zeros(plan.n_tokens, dtype=torch.bool)
    for begin, end in plan.query_ranges:
        recorded[begin:end] = True
    return lambda first, n_new: recorded[first : first + n_new]


class SampleCapture:
    """One sample. Call begin_pass(), listen() for each recorded layer, and end_pass() for each forward pass; finish() at
    the end. What a pass brought is part of the sample once it has ended; drop_pass() forgets it before.

    layers: by index, the tensors [heads, n, dim] so far, complete after finish()
    chosen: which queries of a pass are stored
    expected: queries and tokens that there will be; more or fewer may come
    """

    def __init__(
        self,
        facts: ModelFacts,
        dtype: torch.dtype,
        witness: RotationWitness,
        chosen: ChosenQueries,
        expected: tuple[int, int],
    ):
        self.layers = {layer.index: _buffers(facts, layer, expected, dtype) for layer in facts.layers}
        self.n_tokens = 0  # of the passes that ended
        self.forward_begins: list[int] = []  # first position of each pass
        self._checks = PassChecks(facts, witness)
        self._chosen, self._dtype = chosen, dtype
        self._n_new = 0  # of the running pass
        self._chosen_now = torch.empty(0, dtype=torch.bool)
        self._query_positions: list[torch.Tensor] = []
        self._n_stored = 0  # tokens whose values are in the buffers; those after them wait
        self._waiting: dict[int, list[NewTokens]] = {layer: [] for layer in self.layers}
        self._waiting_chosen: list[torch.Tensor] = []
        self._streams: dict[int, list[tuple[torch.Tensor, torch.Tensor]]] = {}
        self._cosines: dict[int, list[torch.Tensor]] = {}
        self._cache: dict[int, dict[str, torch.Tensor]] = {}  # keys and values as the last pass saw them

    def begin_pass(self, n_new: int) -> None:
        """A forward pass over the next `n_new` positions follows."""
        if n_new > 1:
            self._settle()
        self._n_new = n_new
        self._chosen_now = self._chosen(self.n_tokens, n_new)
        self._checks.begin_pass(self.n_tokens, n_new)

    def listen(self, call: AttentionCall, rotation: Rotation | None) -> None:
        """Takes over the new queries, keys and values of one recorded layer, in inference mode. `call`: of this sample
        alone."""
        self._checks.check_call(call, rotation)
        new = NewTokens(call.new_tokens(), rotation)
        if self._n_new > 1:
            self._store(call.layer, new, self.n_tokens, self._chosen_now, every_row=False)
        else:
            for name in ("keys", "values"):  # parts of the whole cache, which would stay in memory with them
                new.tensors[name] = new.tensors[name].clone()
            self._waiting[call.layer].append(new)
        self._cache[call.layer] = {"keys": call.key[0], "values": call.value[0]}

    @torch.inference_mode()
    def end_pass(self, streams: dict[int, tuple[torch.Tensor, torch.Tensor]]) -> None:
        """`streams`: by layer, the residual stream before and after attention, [n_new, hidden_size], where it is known."""
        self._checks.end_pass()
        for layer, stream in streams.items():
            self._streams.setdefault(layer, []).append(stream)
        self.forward_begins.append(self.n_tokens)
        self._query_positions.append(self._chosen_now.nonzero()[:, 0] + self.n_tokens)
        self.n_tokens += self._n_new
        if self._n_new > 1:
            self._n_stored = self.n_tokens
            self._take_cosines()
        else:
            self._waiting_chosen.append(self._chosen_now)
            if len(self._waiting_chosen) == BLOCK:
                self._settle()

    def drop_pass(self) -> None:
        """Forgets what the running pass brought."""
        n_queries = sum(len(each) for each in self._query_positions)
        for layer, buffers in self.layers.items():
            del self._waiting[layer][len(self._waiting_chosen) :]
            if not self._waiting_chosen:
                for name, n_rows in (("queries", n_queries), ("keys", self.n_tokens), ("values", self.n_tokens)):
                    buffers.truncate(name, n_rows)
        self._cache.clear()

    def holds(self, call: AttentionCall) -> bool:
        """Is the cache before the running pass what was recorded? To be asked in the first pass after one of several
        tokens, when all of it is stored."""
        n_before = call.key.shape[2] - call.query.shape[2]
        cached = {"keys": call.key[0, :, :n_before], "values": call.value[0, :, :n_before]}
        return all(self._is_recorded(call.layer, name, tensor) for name, tensor in cached.items())

    @torch.inference_mode()
    def finish(self) -> None:
        """Stores what waits; throws InputError where the cache is no longer what was recorded."""
        self._settle()
        for layer, tensors in self._cache.items():
            for name, tensor in tensors.items():
                # After a single pass nobody has read what is in the cache now.
                if len(self.forward_begins) > 1 and not self._is_recorded(layer, name, tensor):
                    raise InputError(
                        f"layer {layer}: the cached {name} change while decoding, which a trace cannot say"
                    )
        self._cache.clear()
        for layer, parts in self._cosines.items():
            self.layers[layer].block_cosine = torch.cat(parts)

    @torch.inference_mode()
    def cut(self, n_tokens: int, query_ranges: list[tuple[int, int]]) -> None:
        """After finish(): keeps the first `n_tokens` tokens, and of their queries those in the ranges."""
        positions = torch.cat(self._query_positions)
        wanted = torch.zeros(max(self.n_tokens, n_tokens), dtype=torch.bool)
        for begin, end in query_ranges:
            wanted[begin:end] = True
        rows = wanted[positions].nonzero()[:, 0]
        for buffers in self.layers.values():
            buffers.truncate("keys", n_tokens)
            buffers.truncate("values", n_tokens)
            if len(rows) < len(positions):
                buffers.select("queries", rows)
            if buffers.block_cosine is not None:
                buffers.block_cosine = buffers.block_cosine[:n_tokens]
        self.n_tokens = n_tokens
        self.forward_begins = [begin for begin in self.forward_begins if begin < n_tokens]

    def _settle(self) -> None:
        """Checks and stores the passes of one token that wait."""
        if not self._waiting_chosen:
            return
        chosen = torch.cat(self._waiting_chosen)
        with torch.inference_mode():
            for layer, parts in self._waiting.items():
                n_parts = len(self._waiting_chosen)  # the running pass may have brought more
                self._store(layer, NewTokens.joined(parts[:n_parts]), self._n_stored, chosen, every_row=True)
                del parts[:n_parts]
            self._take_cosines()
        self._n_stored += len(self._waiting_chosen)
        self._waiting_chosen = []

    def _store(self, layer: int, new: NewTokens, first: int, chosen: torch.Tensor, every_row: bool) -> None:
        self._checks.check_values(layer, new, first, every_row)
        buffers = self.layers[layer]
        queries = new.tensors["queries"]
        buffers.append("queries", queries if bool(chosen.all()) else queries[:, chosen.to(queries.device)])
        buffers.append("keys", new.tensors["keys"])
        buffers.append("values", new.tensors["values"])

    def _take_cosines(self) -> None:
        for layer, parts in self._streams.items():
            before, after = (torch.cat(sides) for sides in zip(*parts))
            cosine = stream_cosine(before, after).cpu()
            if not bool(torch.isfinite(cosine).all()):
                raise InputError(f"layer {layer}: the residual stream holds NaN or infinity")
            self._cosines.setdefault(layer, []).append(cosine)
        self._streams = {}

    def _is_recorded(self, layer: int, name: str, tensor: torch.Tensor) -> bool:
        """Is a part of the cache that ends with the last stored token what is stored?"""
        recorded = self.layers[layer].tensors[name]
        return torch.equal(tensor.to(self._dtype).cpu(), recorded[:, recorded.shape[1] - tensor.shape[1] :])


def _buffers(facts: ModelFacts, layer: LayerFacts, expected: tuple[int, int], dtype: torch.dtype) -> LayerBuffers:
    n_queries, n_tokens = expected
    shapes = {
        "queries": (facts.n_q_heads, n_queries, facts.head_dim),
        "keys": (facts.n_kv_heads, n_tokens, facts.head_dim),
        "values": (facts.n_kv_heads, n_tokens, facts.value_dim),
    }
    return LayerBuffers(layer.index, shapes, dtype)
