"""Learning scorers from Python."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from pathlib import Path

from ..common.printable import printable_lines
from ..common.program import torch_threads
from ..learning.command_line import build_parser
from ..learning.training import check_files, learn
from .words import PathLike, flag, option, path_option, path_words

LOG = logging.getLogger("kvreplay")


class _LoggingTeller:
    def __init__(self, progress: bool | None):
        self._shown = sys.stderr.isatty() if progress is None else progress

    def progress(self, text: str) -> None:
        if self._shown:
            print(text, file=sys.stderr)

    def say(self, text: str) -> None:
        LOG.info("%s", printable_lines(text))

    def warn(self, text: str) -> None:
        LOG.warning("%s", text)


def train(
    traces: PathLike | Iterable[PathLike],
    output: PathLike,
    *,
    held_out: PathLike | Iterable[PathLike] | None = None,
    queries: bool = False,
    end_to_end: bool = False,
    folds: bool = True,
    steps: int | None = None,
    learning_rate: float = 3e-3,
    seed: int = 1,
    threads: int | None = None,
    force: bool = False,
    progress: bool | None = None,
) -> Path:
    """Learns from traces which tokens a model's heads will look at again, as `kvreplay train` does, and writes a scorer
    (docs/formats/learned.md); returns its path.

    traces: of one model, with all prompt keys and values and decoded tokens; 16 prompts of mixed kinds are a good set
    held_out: traces to report on, in the log `kvreplay`, and not to learn from
    queries: the scorer also sees the attention of the last 64 prompt queries (`lkv-q`)
    end_to_end: a second stage, through a soft top-k to the attention output
    folds: also trains networks on halves, which budgets are fitted with
    steps: of the first stage, a prompt each; default: 10 per prompt, at least 80
    progress: True shows it on stderr, False does not; None: where stderr is a terminal

    Throws UsageError where the output exists or an option cannot be meant, InputError for traces that cannot be learned
    from, MachineError where the output cannot be written."""
    words = [*path_option("output", output), *flag("queries", queries), *flag("end-to-end", end_to_end)]
    words += [*flag("no-folds", not folds), *option("steps", steps), *option("learning-rate", learning_rate)]
    words += [*option("seed", seed), *option("threads", threads), *flag("force", force)]
    options = build_parser().parse_args([*words, "--", *path_words(traces, "traces")])
    options.held_out = [] if held_out is None else list(map(Path, path_words(held_out, "held_out")))
    check_files(options)
    with torch_threads(threads):
        learn(options, _LoggingTeller(progress))
    return Path(output)
