"""What kvreplay record says on stderr while it works: notes, and how far it is."""

from __future__ import annotations

import logging
import sys
import time

from ..common.printable import printable, printable_lines
from ..common.progress import Progress
from .command_line import PROGRAM
from .probe_plan import ProbePlan
from .sample_plan import SamplePlan
from .sensitivity_plan import SensitivityPlan

LOG = logging.getLogger("kvreplay")


class RecorderProgress(Progress):
    """How far the recording of the samples is."""

    def note(self, message: str) -> None:
        if not self._quiet:
            self.clear()
            note(message)

    def say(self, text: str) -> None:
        """On stdout: what was recorded."""
        if not self._quiet:
            self.clear()
            print(printable_lines(text), flush=True)

    def tokens(self, plan: SamplePlan, done: int) -> None:
        self.show(f"{plan.name}: {done} of {plan.n_tokens} tokens")

    def layer(self, plan: SamplePlan, done: int, layer: int, n_layers: int) -> None:
        """In the pass over the tokens that follow `done` ones."""
        if done == 0:  # the prompt's; that of one token is over at once
            self.show(f"{plan.name}: reading {len(plan.prompt_ids)} tokens, layer {layer + 1} of {n_layers}")

    def passes(self, plan: SamplePlan, probe: ProbePlan, done: int) -> None:
        self.show(f"{plan.name}: probe at {probe.point}, {done} of {len(probe.passes)} chunks")

    def sketches(self, plan: SamplePlan, sensitivity: SensitivityPlan, done: int, begun: float) -> None:
        """The first sketch tells how long all will take, and that is said wherever stderr goes."""
        seconds = time.monotonic() - begun
        remaining = seconds / done * (sensitivity.n_sketches - done)
        if done == 1:
            self.note(
                f"'{plan.name}': {sensitivity.n_sketches} sketches of its sensitivity at '{sensitivity.point}' take "
                f"about {seconds + remaining:.0f} s"
            )
        self.show(
            f"{plan.name}: sensitivity at {sensitivity.point}, {done} of {sensitivity.n_sketches} sketches, "
            f"{remaining:.0f} s left"
        )


class LoggedProgress(RecorderProgress):
    """Of a function: notes and what was recorded go to the log `kvreplay`.

    progress: True shows how far it is on stderr, False does not; None: where stderr is a terminal
    """

    def __init__(self, progress: bool | None):
        shown = sys.stderr.isatty() if progress is None else progress
        super().__init__(quiet=not shown)

    def note(self, message: str) -> None:
        LOG.info("%s", message)

    def say(self, text: str) -> None:
        LOG.info("%s", text)


def note(message: str) -> None:
    print(f"{PROGRAM}: note: {printable(message)}", file=sys.stderr)
