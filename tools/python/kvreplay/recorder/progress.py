"""What kvreplay-record says on stderr while it works: notes, and on a terminal a line that goes away."""

from __future__ import annotations

import sys
import time

from ..common.program import clear_progress
from .command_line import PROGRAM
from .probe_plan import ProbePlan
from .sample_plan import SamplePlan
from .sensitivity_plan import SensitivityPlan


def note(message: str) -> None:
    print(f"{PROGRAM}: note: {message}", file=sys.stderr)


def show_tokens(plan: SamplePlan, done: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{plan.name}: {done} of {plan.n_tokens} tokens", end="", file=sys.stderr, flush=True)


def show_passes(plan: SamplePlan, probe: ProbePlan, done: int) -> None:
    _show(f"{plan.name}: probe at {probe.point}, {done} of {len(probe.passes)} chunks")


def show_sketches(plan: SamplePlan, sensitivity: SensitivityPlan, done: int, begun: float) -> None:
    """The first sketch tells how long all will take, and that is said wherever stderr goes."""
    seconds = time.monotonic() - begun
    remaining = seconds / done * (sensitivity.n_sketches - done)
    if done == 1:
        clear_progress()
        note(
            f"'{plan.name}': {sensitivity.n_sketches} sketches of its sensitivity at '{sensitivity.point}' take about "
            f"{seconds + remaining:.0f} s"
        )
    _show(
        f"{plan.name}: sensitivity at {sensitivity.point}, {done} of {sensitivity.n_sketches} sketches, "
        f"{remaining:.0f} s left"
    )


def _show(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
