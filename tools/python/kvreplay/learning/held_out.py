"""What trained networks do on prompts that they have not seen."""

from __future__ import annotations

import torch
from torch import nn

from .listwise import evictable, listwise_loss
from .retained_outputs import DecodeAttention, projection_factor
from .training_set import KEEP_FIRST, KEEP_LAST, TrainingSet

FRACTIONS = (0.1, 0.25, 0.5)


def keep_best(scores: torch.Tensor, n_kept: int) -> torch.Tensor:
    """1 for what a head keeps: the first and last tokens and the best others, `n_kept` in all. [n_heads, length]"""
    kept = torch.zeros_like(scores)
    # Of a budget that does not hold them all: the first ones, then the newest.
    n_first = min(n_kept, KEEP_FIRST)
    n_last = min(n_kept - n_first, KEEP_LAST)
    kept[:, :n_first] = kept[:, scores.shape[1] - n_last :] = 1
    free = max(0, n_kept - KEEP_FIRST - KEEP_LAST)
    kept.scatter_(1, evictable(scores).topk(min(free, evictable(scores).shape[1])).indices + KEEP_FIRST, 1.0)
    return kept


@torch.no_grad()
def report(networks: nn.ModuleList, data: TrainingSet) -> str:
    """A table: per prompt, by the networks, by position alone, and by the attention that really came."""
    lines = [
        "held out: listwise loss in nats above the target's entropy (lower is better); at equal budgets of all heads",
        "the future attention lost, and sum over heads of mean_t ||W_O^h (o~ - o)||^2 (nan without W_O):",
        "networks / newest tokens / oracle",
    ]
    for index, instance in enumerate(data.instances):
        excess, n_heads = 0.0, 0
        lost = torch.zeros(len(FRACTIONS), 3)
        error = torch.zeros(len(FRACTIONS), 3)
        for network, layer in zip(networks, data.shape.layers):
            tensors = data.tensors(index, layer)
            target, scores = data.target(index, layer, tensors), network(data.features(index, layer, tensors))
            excess += float((listwise_loss(scores, target) - listwise_loss((target + 1e-30).log(), target)).sum())
            n_heads += len(scores)
            attention = DecodeAttention(tensors, instance.length, data.shape)
            factor = None
            if instance.trace.has_output_projection(layer):
                factor = projection_factor(instance.trace.read_output_projection(layer))
            newest = torch.arange(instance.length).float().expand_as(scores)
            for f, fraction in enumerate(FRACTIONS):
                for p, ranking in enumerate((scores, newest, target)):
                    kept = keep_best(ranking, round(fraction * instance.length))
                    lost[f, p] += (target * (1 - kept)).sum()
                    error[f, p] += attention.squared_errors(kept, factor).sum() if factor is not None else torch.nan
        lines.append(f"  {instance.prompt.name} ({instance.length} tokens): loss {excess / n_heads:.3f}")
        for f, fraction in enumerate(FRACTIONS):
            shares = " / ".join(f"{value / n_heads:.4f}" for value in lost[f].tolist())
            errors = " / ".join(f"{value:.4g}" for value in error[f].tolist())
            lines.append(f"    {fraction:4.0%} kept: lost {shares}   error {errors}")
    return "\n".join(lines)
