"""Runs the program for a function of the API: progress goes where it is wanted, notes go to the log."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Sequence

from ..common.kvreplay_program import run_kvreplay
from ..common.progress import Progress
from .notebook_bar import NotebookBar, in_notebook

LOG = logging.getLogger("kvreplay")
PROGRESS = re.compile(r".*: \d+ % of .* after .*")

Runs = Callable[[Sequence[str], Callable[[str], None]], str]  # as run_kvreplay()
ProgressWish = bool | Callable[[str], None] | None


def run_logged(words: Sequence[str], progress: ProgressWish = False, run: Runs = run_kvreplay) -> str:
    """What the program prints. Its notes, such as policies that it leaves out, go to the log `kvreplay` as INFO.

    progress: True shows it, on stderr or as a bar of a notebook, False does not; None: where stderr is a terminal, and in
    notebooks with tqdm; a function gets each line of progress, "replay: 40 % of ...", twice a second"""
    bar = not callable(progress) and progress is not False and in_notebook()
    shown = bar or (sys.stderr.isatty() if progress is None else progress is True)
    with NotebookBar(words[0]) if bar else Progress(quiet=not shown) as telling:

        def heard(line: str) -> None:
            if PROGRESS.fullmatch(line):
                telling.show(line if bar else line.rsplit(" after ", 1)[0])  # a terminal's has a clock of its own
                if callable(progress):
                    progress(line)
            elif line and not line.startswith("kvreplay: "):  # an error: raised
                # The caller knows which files it asked for.
                LOG.log(logging.DEBUG if line.startswith("wrote ") else logging.INFO, "%s", line)

        if shown:
            telling.show(words[0])
        return run(words, heard)
