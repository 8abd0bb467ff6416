"""Runs the program for a function of the API: progress goes where it is wanted, notes go to the log."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Sequence

from ..common.kvreplay_program import run_kvreplay
from ..common.progress import Progress

LOG = logging.getLogger("kvreplay")
PROGRESS = re.compile(r".*: \d+ % of .* after .*")

Runs = Callable[[Sequence[str], Callable[[str], None]], str]  # as run_kvreplay()
ProgressWish = bool | Callable[[str], None] | None


def run_logged(words: Sequence[str], progress: ProgressWish = False, run: Runs = run_kvreplay) -> str:
    """What the program prints. Its notes, such as policies that it leaves out, go to the log `kvreplay` as INFO.

    progress: True shows it on stderr, False does not; None: where stderr is a terminal; a function gets each line of
    progress, "replaying: 40 % of ...", which the program says every half a minute"""
    shown = sys.stderr.isatty() if progress is None else progress is True
    with Progress(quiet=not shown) as line_of_terminal:

        def heard(line: str) -> None:
            if PROGRESS.fullmatch(line):
                line_of_terminal.show(line.rsplit(" after ", 1)[0])  # which has a clock of its own
                if callable(progress):
                    progress(line)
            elif line and not line.startswith("kvreplay: "):  # an error: raised
                # The caller knows which files it asked for.
                LOG.log(logging.DEBUG if line.startswith("wrote ") else logging.INFO, "%s", line)

        if shown:
            line_of_terminal.show(words[0])
        return run(words, heard)
