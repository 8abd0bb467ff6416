"""What was measured live and what was predicted, one row per case, policy and budget, and how the two agree."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Callable

import numpy as np

from ..common.errors import InputError
from .agreement import Agreement, agreement
from .live_model import LiveCase, LiveLoss
from .replay_files import Replay

PREDICTION = "predicted_kl"


@dataclass
class Row:
    trace: str
    case: str
    policy: str
    budget: float
    true_kl: float  # nats per scored prediction
    nll_increase: float
    keeps_all: bool  # nothing is lost, nothing to be ordered
    surrogates: dict[str, float] = field(default_factory=dict)


@dataclass
class Study:
    rows: list[Row] = field(default_factory=list)
    lower_is_better: dict[str, bool] = field(default_factory=dict)  # of each surrogate, in the order of the results

    def add(self, replay: Replay, policies: list[str] | None, budgets: list[float] | None, open_case, progress) -> None:
        """Measures all cases of a replay. `policies`, `budgets`: the ones to measure, None for all.

        `open_case(case)`: a LiveCase, checked; `progress(case, done, n)` is called after each measurement
        """
        chosen = _chosen(policies, replay.policies, f"{replay.results_path}: no policy")
        levels = _chosen(budgets, replay.budgets, f"{replay.results_path}: no budget")
        surrogates = replay.surrogates()
        for name, (_, lower) in surrogates.items():
            self.lower_is_better.setdefault(name, lower)
        for c, case in enumerate(replay.cases):
            live: LiveCase = open_case(case)
            known: dict[bytes, LiveLoss] = {}  # policies agree where budgets are very small or whole
            replayed = [policy for policy in chosen if not replay.is_left_out(case, policy)]
            for done, (policy, budget) in enumerate((p, b) for p in replayed for b in levels):
                p, b = replay.policies.index(policy), replay.budgets.index(budget)
                sets = replay.retained_sets(case, policy, b)
                keeps_all = all(kept.all() for kept in sets.values())
                loss = LiveLoss(0.0, 0.0) if keeps_all else _measure(live, sets, known)
                values = {name: float(array[c, p, b]) for name, (array, _) in surrogates.items()}
                trace = replay.trace_path.name
                self.rows.append(Row(trace, case.name, policy, budget, loss.kl, loss.nll_increase, keeps_all, values))
                progress(case, done + 1, len(replayed) * len(levels))

    def cases(self) -> list[tuple[str, str]]:
        """(trace, case), in the order they were measured in."""
        return list(dict.fromkeys((row.trace, row.case) for row in self.rows))

    def agreements(self, select: Callable[[Row], bool] = lambda row: True) -> dict[str, Agreement]:
        """Of each surrogate with the true KL, among the rows of the same case and budget that lose something."""
        rows = [row for row in self.rows if select(row) and not row.keeps_all]
        groups = {key: number for number, key in enumerate(dict.fromkeys(map(_group, rows)))}
        truth = np.array([row.true_kl for row in rows])
        numbers = np.array([groups[_group(row)] for row in rows], dtype=int)
        return {
            name: agreement(
                truth, np.array([row.surrogates.get(name, np.nan) for row in rows]), numbers, self.lower_is_better[name]
            )
            for name in self.lower_is_better
        }


def _group(row: Row) -> tuple[str, str, float]:
    return row.trace, row.case, row.budget


def _measure(live: LiveCase, sets: dict[int, np.ndarray], known: dict[bytes, LiveLoss]) -> LiveLoss:
    digest = hashlib.sha256()
    for layer, kept in sorted(sets.items()):
        digest.update(f"{layer} {kept.shape}".encode() + np.packbits(kept).tobytes())
    if digest.digest() not in known:
        known[digest.digest()] = live.measure(sets)
    return known[digest.digest()]


def _chosen(wanted: list | None, known: list, message: str) -> list:
    """The wanted ones in the order of the results."""
    for item in wanted or []:
        if item not in known:
            raise InputError(f"{message} {item!r}; it has {', '.join(map(str, known))}")
    return known if wanted is None else [item for item in known if item in wanted]
