"""Runs the passes of a probe over the cache of a context, and collects their queries and keys."""

from __future__ import annotations

import torch

from ..common.attention_hook import AttentionCall
from ..common.model_survey import ModelFacts
from ..common.prefix_cache import branch_of, takes_logits_to_keep
from ..common.rotary_embedding import RotationWitness
from .layer_buffers import LayerBuffers
from .pass_checks import PassChecks
from .probe_plan import ProbePlan


class ProbeCapture:
    """The listener of the attention hook for one probe. Use between begin_pass() and end_pass() of each forward."""

    def __init__(self, facts: ModelFacts, plan: ProbePlan, dtype: torch.dtype, witness: RotationWitness):
        shapes = {
            "queries": (facts.n_q_heads, plan.n_rows, facts.head_dim),
            "keys": (facts.n_kv_heads, plan.n_rows, facts.head_dim),
        }
        self.layers = {layer.index: LayerBuffers(layer.index, shapes, dtype) for layer in facts.layers}
        self._checks = PassChecks(facts, witness)
        self._stored = False  # whether the running pass is

    def begin_pass(self, first_position: int, n_new: int, stored: bool) -> None:
        """A pass follows whose rows come after those before, or which is checked and not stored."""
        self._stored = stored
        self._checks.begin_pass(first_position, n_new)

    def end_pass(self) -> None:
        self._checks.end_pass()

    def listen(self, call: AttentionCall) -> None:
        """Takes over the new queries and keys of one layer."""
        new = self._checks.accept(call)
        if new is None or not self._stored:
            return
        for name in ("queries", "keys"):
            self.layers[call.layer].append(name, new[name])


def run_probe(model, plan: ProbePlan, token_ids: list[int], capture: ProbeCapture, progress) -> None:
    """One pass over the context [0, position), then each chunk's pass over a cache of exactly these tokens.

    `progress(done)` is called after each pass with the number of chunks done.
    """
    limits = {"logits_to_keep": 1} if takes_logits_to_keep(model) else {}

    def read(ids: list[int], first_position: int, stored: bool, cache):
        capture.begin_pass(first_position, len(ids), stored)
        input_ids = torch.tensor([ids], device=model.device)
        out = model(input_ids=input_ids, past_key_values=cache, use_cache=True, **limits)
        capture.end_pass()
        return out.past_key_values

    with torch.inference_mode():
        cache = read(token_ids[: plan.position], 0, False, None)
        for done, each in enumerate(plan.passes):
            progress(done)
            read(each.ids(token_ids), plan.position, True, branch_of(cache))
        progress(len(plan.passes))
