"""Stage 2, optional: end to end through a soft top-k, so that scores serve the attention output."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from .listwise import Schedule, descend, evictable, instance_order
from .retained_outputs import DecodeAttention, projection_factor
from .training_set import KEEP_FIRST, KEEP_LAST, TrainingSet

FRACTIONS = (0.03, 0.05, 0.1, 0.15, 0.25, 0.5)
FIRST_TEMPERATURE, LAST_TEMPERATURE = 1.0, 0.15
BISECTIONS = 25


def soft_top_k(scores: torch.Tensor, k: float, temperature: float) -> torch.Tensor:
    """m_i = sigmoid((z_i - tau) / T) with tau such that sum m = k; the gradient goes through tau as well.

    \\param scores [n_heads, n], k < n \\return [n_heads, n]
    """
    with torch.no_grad():
        low = scores.amin(dim=-1, keepdim=True) - 20 * temperature
        high = scores.amax(dim=-1, keepdim=True) + 20 * temperature
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            too_many = ((scores - middle) / temperature).sigmoid().sum(dim=-1, keepdim=True) > k
            low, high = torch.where(too_many, middle, low), torch.where(too_many, high, middle)
        threshold = (low + high) / 2
    soft = ((scores - threshold) / temperature).sigmoid()
    # One Newton step, its slope held fixed: this is where the threshold's own gradient comes from.
    slope = (soft * (1 - soft)).sum(dim=-1, keepdim=True).detach() / temperature
    threshold = threshold + (soft.sum(dim=-1, keepdim=True) - k) / slope.clamp_min(1e-6)
    return ((scores - threshold) / temperature).sigmoid()


def train_end_to_end(
    networks: nn.ModuleList, data: TrainingSet, schedule: Schedule, seed: int, progress: Callable[[int, float], None]
) -> list[float]:
    """Goes on from stage 1: mean over heads of ln(mean_t ||W_O^h (o~ - o)||^2 + 1e-8), uniform budgets."""
    order = instance_order(len(data.instances), schedule.steps, seed)
    draw = torch.Generator().manual_seed(seed + 1)
    fractions = [FRACTIONS[i] for i in torch.randint(len(FRACTIONS), (schedule.steps,), generator=draw).tolist()]
    factors: dict[int, torch.Tensor] = {}

    def loss_of_layer(step: int, index: int, layer: int) -> torch.Tensor:
        number, length = data.shape.layers[layer], data.instances[index].length
        if number not in factors:
            factors[number] = projection_factor(data.instances[index].trace.read_output_projection(number))
        tensors = data.tensors(index, number)
        scores = evictable(networks[layer](data.features(index, number, tensors)))
        k = min(max(fractions[step] * length - KEEP_FIRST - KEEP_LAST, 1.0), scores.shape[-1] - 1.0)
        cooled = (LAST_TEMPERATURE / FIRST_TEMPERATURE) ** (step / max(1, schedule.steps - 1))
        soft = nn.functional.pad(soft_top_k(scores, k, FIRST_TEMPERATURE * cooled), (KEEP_FIRST, KEEP_LAST), value=1.0)
        errors = DecodeAttention(tensors, length, data.shape).squared_errors(soft, factors[number])
        return (errors + 1e-8).log()

    return descend(networks, schedule, order, loss_of_layer, progress)
