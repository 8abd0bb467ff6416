"""Runs the passes of a sensitivity: how the model's predictions change with the outputs of its attention layers.

The Fisher information of the predictions, sketched: z with covariance diag p - p p^T, the curvature of the KL
divergence at p, is drawn at the logits y of each scored query, and the gradient of sum_t z_t . y_t is taken at the
attention outputs, through all later layers and through the keys and values of later tokens. The expectation of the
square of sum <gradient, change of the outputs> is then twice the sum of the KL divergences that the change makes, to
second order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable

import numpy as np
import torch

from ..common.attention_hook import AttentionCall, AttentionHook
from ..common.errors import InputError
from ..common.model_survey import ModelFacts
from ..common.prefix_cache import branch_of, prefix_of, read_prefix, takes_logits_to_keep
from ..common.rotary_embedding import RotationWitness
from .pass_checks import PassChecks
from .sensitivity_plan import KEEP_FIRST, SensitivityPlan


class OutputCapture:
    """The listener of the attention hook: keeps the recorded layers' outputs, where gradients can be asked for."""

    def __init__(self, facts: ModelFacts, witness: RotationWitness):
        self.outputs: dict[int, torch.Tensor] = {}  # [1, n_new, n_q_heads, value_dim], of the last pass
        self._checks = PassChecks(facts, witness)

    def begin_pass(self, first_position: int, n_new: int) -> None:
        self.outputs = {}
        self._checks.begin_pass(first_position, n_new)

    def end_pass(self) -> None:
        self._checks.end_pass()

    def listen(self, call: AttentionCall) -> None:
        with torch.no_grad():
            recorded = self._checks.accept(call) is not None
        if recorded:
            if torch.is_grad_enabled() and not call.output.requires_grad:  # nothing before it is asked about
                call.output.requires_grad_(True)
            self.outputs[call.layer] = call.output


@dataclass
class SensitivityRun:
    """One model, one sample, one compression point."""

    model: torch.nn.Module
    facts: ModelFacts
    hook: AttentionHook
    witness: RotationWitness
    plan: SensitivityPlan
    token_ids: list[int]
    cache: object  # of all tokens of the sample

    def run(self, store: Callable[[int, int, torch.Tensor], None], progress: Callable[[int], None]) -> list[float]:
        """All sketches. Returns the mean KL(clean || dropped) of each one's pass, nats.

        `store(sketch, layer, gradient)`: takes over a gradient, float32 [n_queries, n_q_heads * value_dim]
        `progress(done)`: called after each sketch
        """
        plan = self.plan
        self.model.requires_grad_(False)
        capture = OutputCapture(self.facts, self.witness)
        self.hook.listener = capture.listen
        prefix = self._prefix(capture)
        perturbed_kl = [0.0] * plan.n_sketches
        done = 0
        # The sketches at the clean point share one pass forward, the first one; each other has its own.
        passes = [plan.clean_sketches] + [[sketch] for sketch in range(plan.n_sketches) if plan.levels[sketch] != 0]
        clean: torch.Tensor | None = None
        try:
            for sketches in passes:
                generators = {sketch: torch.Generator().manual_seed(plan.seeds[sketch]) for sketch in sketches}
                self.hook.retained = self._draw_retained(plan.levels[sketches[0]], generators[sketches[0]])
                logits = self._read_chunk(prefix, capture)
                log_p = torch.log_softmax(logits.detach(), dim=-1)
                if clean is None:
                    clean = log_p
                else:
                    perturbed_kl[sketches[0]] = mean_kl(clean, log_p)
                p = log_p.exp()
                for sketch in sketches:
                    z = draw_fisher(p, generators[sketch])
                    self._back(logits, z, capture, sketch, keep_graph=sketch != sketches[-1], store=store)
                    done += 1
                    progress(done)
        finally:
            self.hook.retained = {}
        return perturbed_kl

    def _prefix(self, capture: OutputCapture):
        """The cache of the tokens before the point."""
        prefix = prefix_of(self.cache, self.plan.position)
        if prefix is None:  # sliding windows have passed by: read it again
            capture.begin_pass(0, self.plan.position)
            with torch.no_grad():
                prefix = read_prefix(self.model, self.token_ids[: self.plan.position])
            capture.end_pass()
        self.cache = None
        return prefix

    def _draw_retained(self, level: float, generator: torch.Generator) -> dict[int, torch.Tensor]:
        """What a pass leaves of the tokens before the point, by recorded layer: bool [n_kv_heads, position]."""
        shape = (len(self.facts.layers), self.facts.n_kv_heads, self.plan.position)
        if level == 0:
            retained = torch.ones(shape, dtype=torch.bool)
        else:
            retained = torch.rand(shape, generator=generator) >= level
            retained[..., :KEEP_FIRST] = True
        return {layer.index: each for layer, each in zip(self.facts.layers, retained)}

    def _read_chunk(self, prefix, capture: OutputCapture) -> torch.Tensor:
        """The logits at the scored queries, float32 [n_scored, vocabulary], with their graph."""
        plan = self.plan
        scored = torch.from_numpy(np.flatnonzero(plan.target_mask)).to(self.model.device)
        limits = {"logits_to_keep": scored} if takes_logits_to_keep(self.model) else {}
        ids = torch.tensor([self.token_ids[plan.position :]], device=self.model.device)
        capture.begin_pass(plan.position, plan.n_queries)
        with torch.enable_grad():
            logits = self.model(input_ids=ids, past_key_values=branch_of(prefix), use_cache=True, **limits).logits[0]
            logits = (logits if limits else logits[scored]).float()
        capture.end_pass()
        if not bool(torch.isfinite(logits).all()):
            raise InputError(f"the model's logits after '{plan.point}' hold NaN or infinity")
        return logits

    def _back(self, logits, z, capture: OutputCapture, sketch: int, keep_graph: bool, store) -> None:
        layers = sorted(capture.outputs)
        outputs = [capture.outputs[layer] for layer in layers]
        gradients = torch.autograd.grad([logits], outputs, [z], retain_graph=keep_graph)
        for layer, gradient in zip(layers, gradients):
            gradient = gradient[0].flatten(start_dim=1).float().cpu()
            if not bool(torch.isfinite(gradient).all()):
                raise InputError(
                    f"layer {layer}: its output gradients hold NaN or infinity; --compute-dtype float32 may help"
                )
            store(sketch, layer, gradient)


def mean_kl(log_p: torch.Tensor, log_q: torch.Tensor) -> float:
    """Mean of KL(p || q) over the rows, nats; [n, vocabulary] each."""
    return float((log_p.exp() * (log_p - log_q)).sum(dim=-1).double().mean())


def draw_fisher(p: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Normal rows with covariance diag p - p p^T, from probabilities [n, vocabulary]."""
    noise = torch.randn(p.shape, generator=generator).to(p.device) * p.sqrt()
    return noise - p * noise.sum(dim=-1, keepdim=True)
