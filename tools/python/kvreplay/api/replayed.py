"""Replays from Python."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from .inside import runner_for
from .opened_results import open_results
from .program_run import ProgressWish, run_logged
from .replay_words import Policies, Scores, replay_words
from .words import Number, PathLike, Text

if TYPE_CHECKING:
    import xarray


def replay(
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
) -> xarray.Dataset:
    """Replays traces through eviction policies, as the command `kvreplay replay` does; the values are the same, bit for bit.

    traces: a path, or several
    policies: as the command has them, "snapkv,h2o" or "snapkv:window=32,kernel=5+ada", or a list of such texts;
        or scorers of `kvreplay.scorer`; default: all that the traces can feed
    budgets: fractions of the cache that are kept (0.1, up to 1), or tokens (64), or a text of the command, "0.05:1:8"
    compression_ratios: instead of budgets: shares that are removed, rounded to tokens as kvpress does
    compression_points: where the policies act, names of the trace or positions; default: every named one
    layers, samples: only these; default: all
    metrics: what is measured; default: all that the traces allow and that is not by request
    scores: {"name": path} of score files (docs/formats/scores.md), each a scorer of that name that takes part
    seed: of everything random
    threads: at work; the results do not depend on it. memory: bytes, or a text: "4GiB"
    evict_sliding, strict, backend: as the options of the command
    output: keeps the results in this file, and makes the replay resumable: interrupted, it goes on where it stopped
        when the same call is made again. Without it a temporary folder is used
    retained, report: also writes every retained set (`kvreplay.retained` reads them), and a page in HTML
    force: overwrites these files
    progress: True shows it, False does not; None: on a terminal, and in notebooks with tqdm; a function gets each line
    inside: True replays in this process, and saves the start of another one; False does not; None: where a policy is
        written in Python. A crash or a lack of memory then ends this process

    Returns the results as `kvreplay.open_results` does. What was left out, and why, is in the attribute `left_out`
    (JSON), and goes to `logging.getLogger("kvreplay")` as INFO.

    Throws UsageError, InputError, MachineError or DeviceError with the one line that the program says. Ctrl-C ends the
    program, then raises KeyboardInterrupt.
    """
    with tempfile.TemporaryDirectory(prefix="kvreplay-") as folder:
        file = Path(folder, "results.h5") if output is None else output
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
            output=file,
            retained=retained,
            report=report,
            force=force,
        )
        run_logged(words, progress, runner_for(policies, inside))
        ds = open_results(file)
    if output is None:
        del ds.encoding["source"]  # gone with the folder
    return ds
