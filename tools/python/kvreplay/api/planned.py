"""What a replay would do and take, before it is begun."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..common.printable import printable
from .inside import runner_for
from .program_run import ProgressWish, run_logged
from .replay_words import Policies, Scores, replay_words
from .words import Number, PathLike, Text

MIB = 2**20


@dataclass(frozen=True)
class Plan:
    """units: [unit] pandas, with unit, case, layer, trace (path), flops, and bytes that it needs while it is replayed
    left_out: objects with `policy` or `metric`, `why`, and perhaps `case` and `layer`, as the attribute of the results
    policies: canonical names. budgets: in budget_kind, "fraction", "tokens" or "compression_ratio". metrics: names
    memory: bytes: "peak", at most about; "limit", that may be used, None where that is unknown; and how many "units_in_flight"
    json: everything that the program says
    """

    units: pd.DataFrame
    left_out: list[dict]
    policies: list[str]
    budgets: list[float]
    budget_kind: str
    metrics: list[str]
    memory: dict[str, float]
    json: dict

    def __repr__(self) -> str:
        lines = [
            f"Plan: {len(self.units)} units ({self.units['case'].nunique()} cases, {self.units['layer'].nunique()} layers)",
            f"  policies  {len(self.policies)}: {', '.join(self.policies)}",
            f"  budgets   {len(self.budgets)}: {', '.join(f'{each:g}' for each in self.budgets)} ({self.budget_kind})",
            f"  metrics   {len(self.metrics)}: {', '.join(self.metrics)}",
            f"  work      {self.units['flops'].sum():.3g} FLOP",
            f"  memory    at most about {self.memory['peak'] / MIB:.0f} MiB",
        ]
        if self.memory["limit"] is not None:  # known of the machine, or asked for
            lines[-1] += f" of {self.memory['limit'] / MIB:.0f} MiB"
        lines += [f"  left out  {each.get('policy') or each.get('metric')}: {each['why']}" for each in self.left_out]
        return "\n".join(map(printable, lines))  # traces of others name their samples


def plan(
    traces: PathLike | Iterable[PathLike],
    policies: Policies | None = None,
    budgets: str | Number | Iterable[str | Number] | None = None,
    *,
    compression_ratios: str | Number | Iterable[str | Number] | None = None,
    compression_points: str | int | Iterable[str | int] | None = None,
    layers: str | int | Iterable[str | int] | None = None,
    samples: Text | None = None,
    metrics: Text | None = None,
    scores: Scores | None = None,
    seed: int = 1,
    threads: int | None = None,
    memory: str | int | None = None,
    evict_sliding: bool = False,
    strict: bool = False,
    backend: str | None = None,
    output: PathLike | None = None,
    retained: PathLike | None = None,
    report: PathLike | None = None,
    force: bool = False,
    progress: ProgressWish = None,
    inside: bool | None = None,
) -> Plan:
    """What `kvreplay.replay` with the same arguments would do and take; nothing is written.

    Throws what the replay would throw before its work: UsageError, InputError, DeviceError."""
    with tempfile.TemporaryDirectory(prefix="kvreplay-") as folder:
        words = replay_words(
            traces,
            policies,
            budgets,
            compression_ratios=compression_ratios,
            compression_points=compression_points,
            layers=layers,
            samples=samples,
            metrics=metrics,
            scores=scores,
            seed=seed,
            threads=threads,
            memory=memory,
            evict_sliding=evict_sliding,
            strict=strict,
            backend=backend,
            output=Path(folder, "results.h5") if output is None else output,
            retained=retained,
            report=report,
            force=force,
        )
        said = json.loads(
            run_logged([words[0], "--dry-run", "--json", *words[1:]], progress, runner_for(policies, inside))
        )
    units = pd.DataFrame(said["units"], columns=["unit", "case", "layer", "trace", "flops", "bytes"])
    units["trace"] = [said["traces"][trace]["path"] for trace in units["trace"]]
    return Plan(
        units=units,
        left_out=said["left_out"],
        policies=[policy["name"] for policy in said["policies"]],
        budgets=said["budgets"]["values"],
        budget_kind=said["budgets"]["kind"],
        metrics=said["metrics"],
        memory=said["memory"],
        json=said,
    )
