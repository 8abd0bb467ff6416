"""Decides before the model runs where sensitivities are recorded, and which predictions they are about."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from ..common.errors import InputError
from ..common.prediction_targets import next_token_targets
from .sample_plan import SamplePlan

MIN_SKETCHES, MAX_SKETCHES = 4, 1024  # fewer would not see each level once
LEVELS = (0.0, 0.25, 0.5, 0.75)  # drop probabilities, one pass after the other
KEEP_FIRST = 4  # positions that no pass drops: every policy keeps the sinks, and without them a model falls apart
DECODED_TARGETS, EVERY_TARGET = "decode", "all"


@dataclass(frozen=True)
class SensitivityPlan:
    """The sketches at one compression point; the queries are all positions [position, n_tokens)."""

    point: str
    position: int
    levels: list[float]  # per sketch
    seeds: list[int]  # per sketch, below 2^64
    target_mask: np.ndarray  # bool [n_queries]: is the prediction at this query scored?

    @property
    def n_sketches(self) -> int:
        return len(self.levels)

    @property
    def n_queries(self) -> int:
        return len(self.target_mask)

    @property
    def clean_sketches(self) -> list[int]:
        return [sketch for sketch, level in enumerate(self.levels) if level == 0]


def plan_sensitivities(
    plan: SamplePlan, n_sketches: int, targets: str, where: str
) -> tuple[list[SensitivityPlan], list[str]]:
    """A plan for each compression point that can have one, and why others cannot, one sentence each.

    `targets`: what --sensitivity-targets says; `where`: the prompt's file and line. InputError when no point can.
    """
    plans, reasons = [], []
    if targets not in (DECODED_TARGETS, EVERY_TARGET, *(span.name for span in plan.spans)):
        known = ", ".join(sorted({span.name for span in plan.spans})) or "none"
        raise InputError(
            f"{where}: no sensitivity can be recorded for '{plan.name}': no span '{targets}' (its spans: {known})"
        )
    for point, position in plan.compression_points:
        mask = _target_mask(plan, position, targets)
        unrecorded = _first_without_query(plan, position)
        if unrecorded is not None:
            reasons.append(f"no query is recorded at position {unrecorded}, after '{point}' ({position})")
        elif not mask.any():
            reasons.append(f"none of its targets ({targets}) is predicted after '{point}' ({position})")
        else:
            levels = [LEVELS[sketch % len(LEVELS)] for sketch in range(n_sketches)]
            seeds = [_seed(plan.name, point, sketch) for sketch in range(n_sketches)]
            plans.append(SensitivityPlan(point, position, levels, seeds, mask))
    if not plans:
        reason = "; ".join(reasons) or "it has no compression point with tokens after it"
        raise InputError(f"{where}: no sensitivity can be recorded for '{plan.name}': {reason}")
    return plans, reasons


def _target_mask(plan: SamplePlan, position: int, targets: str) -> np.ndarray:
    """Which queries [position, n_tokens) are scored: the query at t predicts the token at t + 1."""
    predicted = np.arange(position, plan.n_tokens) + 1
    if targets == EVERY_TARGET:
        return np.ones(len(predicted), dtype=bool)
    if targets == DECODED_TARGETS:
        return next_token_targets(position, plan.n_tokens, plan.decode_start)
    spans = [span for span in plan.spans if span.name == targets]
    mask = np.zeros(len(predicted), dtype=bool)
    for span in spans:
        mask |= (span.begin <= predicted) & (predicted < span.end)
    return mask


def _first_without_query(plan: SamplePlan, position: int) -> int | None:
    """The first position from `position` on at which no query is recorded. The ranges are apart: one has to do."""
    for begin, end in plan.query_ranges:
        if begin <= position < end:
            return None if end == plan.n_tokens else end
    return position


def _seed(sample: str, point: str, sketch: int) -> int:
    """The same for the same prompt, whatever else is recorded."""
    digest = hashlib.blake2b(f"{sample}\0{point}\0{sketch}".encode(), digest_size=8)
    return int.from_bytes(digest.digest(), "little")
