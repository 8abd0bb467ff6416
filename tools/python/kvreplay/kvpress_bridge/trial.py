"""Tries a press on made-up tensors, to learn what of a trace it needs and whether a trace has it."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import torch

from .stand_in import StandIn

if TYPE_CHECKING:
    from kvpress import ScorerPress

    from .. import View

LENGTHS = (4200, 4700)  # of the trial's prompts: longer than the windows of kvpress's presses, no multiple of any
_drawing = Lock()


@dataclass(frozen=True)
class Needs:
    """queries: how many of the last ones, None: all, 0: none"""

    queries: int | None
    output_projection: bool
    at_budget: bool
    random: bool

    def words(self) -> list[str]:
        """As `kvreplay.scorer` takes them."""
        named = [] if self.queries == 0 else ["queries" if self.queries is None else f"queries:{self.queries}"]
        return [*named, "output_projection"] if self.output_projection else named


class MadeUpView:
    """What a press can look at of a `kvreplay.View`, of normal random numbers: 4 query heads, 2 KV heads of 16."""

    layer, n_q_heads, n_kv_heads, head_dim, value_dim, hidden_size = 0, 4, 2, 16, 16, 64

    def __init__(self, n_tokens: int, seed: int):
        self.n_tokens, self.seed = n_tokens, seed
        self._generator = np.random.default_rng(5)

    def _normal(self, *shape: int) -> np.ndarray:
        return self._generator.standard_normal(shape, dtype=np.float32)

    @cached_property
    def keys(self) -> np.ndarray:
        return self._normal(self.n_kv_heads, self.n_tokens, self.head_dim)

    @cached_property
    def values(self) -> np.ndarray:
        return self._normal(self.n_kv_heads, self.n_tokens, self.value_dim)

    @cached_property
    def unrotated_keys(self) -> np.ndarray:
        return self._normal(self.n_kv_heads, self.n_tokens, self.head_dim)

    @cached_property
    def output_projection(self) -> np.ndarray:
        return self._normal(self.n_q_heads, self.value_dim, self.hidden_size)

    def queries(self, window: int) -> np.ndarray:
        return self._normal(self.n_q_heads, window, self.head_dim)


def scores_of(press: ScorerPress, view: View, random: bool) -> tuple[torch.Tensor, StandIn]:
    """Its scores [n_kv_heads, n_tokens]. Throws UsageError for what no trace holds, and what the press throws."""
    stand_in = StandIn(view, type(press).__name__)
    with torch.no_grad():
        if random:
            with _drawing, torch.random.fork_rng(devices=[]):  # torch's generator is one for all threads
                torch.manual_seed(view.seed % 2**63)
                scores = press.score(*stand_in.arguments())
        else:
            scores = press.score(*stand_in.arguments())
    stand_in.check()
    return scores[0], stand_in


def at_ratio(press: ScorerPress, ratio: float) -> ScorerPress:
    """A copy of the press that removes this share."""
    copied = copy.deepcopy(press)
    copied.compression_ratio = ratio
    return copied


def ratio_at(budget: object, n_tokens: int) -> float:
    """The share for kvpress to remove, so that it keeps `budget.tokens`: it rounds down, replays to the nearest."""
    if int(n_tokens * (1 - budget.removed)) == budget.tokens:
        return budget.removed
    return max(0.0, 1 - (budget.tokens + 0.5) / n_tokens)


def tried(press: ScorerPress) -> Needs:
    """Throws what the press throws, UsageError among it."""

    def scores(n_tokens: int, ratio: float, seed: int) -> tuple[torch.Tensor, StandIn]:
        return scores_of(at_ratio(press, ratio), MadeUpView(n_tokens, seed), random=True)

    first, stand_in = scores(LENGTHS[0], 0.25, 1)
    reach = LENGTHS[0] - stand_in.first_query
    longer = LENGTHS[1] - scores(LENGTHS[1], 0.25, 1)[1].first_query
    return Needs(
        queries=reach if reach == longer else None,
        output_projection="output_projection" in stand_in.used,
        at_budget=not torch.equal(first, scores(LENGTHS[0], 0.75, 1)[0]),
        random=not torch.equal(first, scores(LENGTHS[0], 0.25, 2)[0]),
    )
