"""Which policies compete, and which are lines to measure by: as `kvreplay compare` tells them apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .pooling import pool_chosen, pooled_dimensions
from .results import KEPT_FRACTION, find_metric, labels, metric_names
from .selection import Chosen, nominal_kept_fraction

# Of the budget, beyond what rounding to tokens, chunks or heads does; and of the cache.
OVERSPENT, OVERSPENT_OF_ALL = 0.25, 0.02


@dataclass(frozen=True)
class Policy:
    name: str
    oracle: bool
    keeps_all: bool  # at every budget
    overspends: bool  # keeps far more than some budget asks for

    @property
    def is_reference(self) -> bool:
        return self.oracle or self.keeps_all or self.overspends


def policies_of(chosen: Chosen) -> list[Policy]:
    """In the order of the results."""
    ds = chosen.ds
    oracles = ds["policy_is_oracle"].values == 1
    keeps_all = overspends = np.zeros(len(oracles), dtype=bool)
    nominal = nominal_kept_fraction(ds)
    if KEPT_FRACTION in metric_names(ds) and (nominal < 1).any():
        metric = find_metric(ds, KEPT_FRACTION)
        kept = pool_chosen(chosen, metric, pooled_dimensions(metric, None), {}).transpose("policy", "budget").values
        known = ~np.isnan(kept)  # a budget of other policies is no word on this one
        keeps_all = ((kept == 1) | ~known).all(axis=1) & known.any(axis=1)
        overspends = (kept > nominal * (1 + OVERSPENT) + OVERSPENT_OF_ALL).any(axis=1)
    return [
        Policy(*each) for each in zip(labels(ds, "policy"), oracles.tolist(), keeps_all.tolist(), overspends.tolist())
    ]
