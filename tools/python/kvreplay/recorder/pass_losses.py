"""What the drop passes of a sensitivity lost, and what its quadratic form says of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .sensitivity_plan import SensitivityPlan


@dataclass(frozen=True)
class PassLosses:
    """Of each pass that drops something, in the order of the sketches."""

    plan: SensitivityPlan
    position_kl: np.ndarray  # nats, float64 [n_drop_passes, n_queries]; 0 at queries that are not scored
    position_quadratic: np.ndarray  # the same, as the quadratic form has it, of all queries

    @property
    def perturbed_kl(self) -> list[float]:
        """Mean over the scored queries, [n_sketches]; 0 for those at the clean point."""
        means = dict(zip(self.plan.drop_sketches, self.position_kl[:, self.plan.target_mask].mean(axis=1).tolist()))
        return [means.get(sketch, 0.0) for sketch in range(self.plan.n_sketches)]
