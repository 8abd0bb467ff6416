"""Stage 1: scores whose softmax over a prompt's tokens is their share of the attention to come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from .training_set import KEEP_FIRST, KEEP_LAST, TrainingSet


@dataclass(frozen=True)
class Schedule:
    """How the optimiser goes; the defaults are those of stage 1."""

    steps: int
    learning_rate: float = 3e-3
    warm_up: int = 20
    weight_decay: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.98)
    clip: float = 5.0
    last_share: float = 0.02  # of the learning rate, at the cosine's end

    def rate(self, step: int) -> float:
        """The share of the learning rate at a step: linear warm-up, then half a cosine."""
        warm_up = min(self.warm_up, self.steps // 4)
        if step < warm_up:
            return (step + 1) / warm_up
        progress = (step - warm_up) / max(1, self.steps - warm_up)
        return self.last_share + (1 - self.last_share) * 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * progress))))


def evictable(tensor: torch.Tensor) -> torch.Tensor:
    """Without the tokens that are always kept. \\param tensor [..., length]"""
    return tensor[..., KEEP_FIRST : tensor.shape[-1] - KEEP_LAST]


def listwise_loss(scores: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """-sum_i p_i ln softmax(z)_i of each head, [n_heads]; p: the target's share over the evictable tokens.

    \\param scores, target  [n_heads, length]
    """
    shares = evictable(target)
    shares = shares / shares.sum(dim=-1, keepdim=True).clamp_min(1e-30)
    return -(shares * evictable(scores).log_softmax(dim=-1)).sum(dim=-1)


def instance_order(n_instances: int, steps: int, seed: int) -> list[int]:
    """Which prompt each step sees: all of them, shuffled, again and again."""
    generator = torch.Generator().manual_seed(seed)
    order: list[int] = []
    while len(order) < steps:
        order += torch.randperm(n_instances, generator=generator).tolist()
    return order[:steps]


def descend(
    networks: nn.ModuleList,
    schedule: Schedule,
    order: list[int],
    loss_of_layer: Callable[[int, int, int], torch.Tensor],
    progress: Callable[[int, float], None],
) -> list[float]:
    """AdamW over one prompt at a step, its layers one after the other. Returns the mean loss of each step.

    \\param loss_of_layer  (step, prompt, index of the layer) -> loss of each head
    """
    optimiser = torch.optim.AdamW(
        networks.parameters(), lr=schedule.learning_rate, betas=schedule.betas, weight_decay=schedule.weight_decay
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, schedule.rate)
    losses = []
    for step, index in enumerate(order):
        optimiser.zero_grad()
        total, n_heads = 0.0, 0
        for layer in range(len(networks)):
            loss = loss_of_layer(step, index, layer)
            (loss.sum() / (len(networks) * len(loss))).backward()
            total, n_heads = total + float(loss.detach().sum()), n_heads + len(loss)
        nn.utils.clip_grad_norm_(networks.parameters(), schedule.clip, error_if_nonfinite=True)
        optimiser.step()
        scheduler.step()
        losses.append(total / n_heads)
        progress(step + 1, losses[-1])
    return losses


def train_listwise(
    networks: nn.ModuleList, data: TrainingSet, schedule: Schedule, seed: int, progress: Callable[[int, float], None]
) -> list[float]:
    """Trains the networks from where they are; returns the loss of each step."""

    def loss_of_layer(_step: int, index: int, layer: int) -> torch.Tensor:
        number = data.shape.layers[layer]
        tensors = data.tensors(index, number)
        return listwise_loss(
            networks[layer](data.features(index, number, tensors)), data.target(index, number, tensors)
        )

    return descend(
        networks, schedule, instance_order(len(data.instances), schedule.steps, seed), loss_of_layer, progress
    )
