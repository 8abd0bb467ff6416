"""Scores of a scorer written in Python, in a file: for replays by the program, on this machine or on others."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np

from ..common.errors import Error, MachineError, UsageError, first_line
from ..common.file_roles import check_outputs
from ..common.nearest_name import unknown_name
from ..parts.part import Part
from .replayed import replay
from .words import PathLike, path_word, path_words


def save_scores(
    traces: PathLike | Iterable[PathLike],
    scorer: Part,
    output: PathLike,
    *,
    force: bool = False,
    threads: int | None = None,
    compression_points: str | int | Iterable[str | int] | None = None,
    layers: str | int | Iterable[str | int] | None = None,
    samples: str | Iterable[str] | None = None,
    **parameters: object,
) -> str:
    """Scores every layer and case of the traces once, and writes the scores to a file (docs/formats/scores.md).

        policy = kvreplay.save_scores("trace.h5", recent_norm, "recent-norm.h5", window=16)
        kvreplay.replay("trace.h5", [policy, policy + "+ada"], scores={"recent-norm": "recent-norm.h5"})
        $ kvreplay replay trace.h5 --scores recent-norm=recent-norm.h5 -p ... --shard 3/64

    compression_points, layers, samples: only these; default: all, as for `kvreplay.replay`
    parameters: of the scorer

    Returns the policy that keeps what the scorer would: its name, and what it protects, which a file of scores does not
    say, as the modifier `protect`.

    Throws UsageError for a scorer whose scores depend on the budget, and where the file exists; what the scorer raises."""
    if not isinstance(scorer, Part) or scorer.kind != "scorer" or scorer.at_budget:
        raise UsageError(f"save_scores: expected a scorer whose scores do not depend on the budget, found {scorer!r}")
    given = {each.name: each.python_default() for each in scorer.parameters}
    for name in parameters:
        if name not in given:
            raise UsageError(unknown_name(f"parameter of '{scorer.name}'", name, list(given)))
    path = Path(path_word(output))
    check_outputs([path], [Path(trace) for trace in path_words(traces, "traces")], force)
    temporary = path.with_name(path.name + ".tmp")
    try:
        with h5py.File(temporary, "w", libver=("earliest", "v110")) as file:
            noting = _noting(scorer, file, given | parameters)
            chosen = {"compression_points": compression_points, "layers": layers, "samples": samples}
            replay(traces, [noting], [1.0], metrics="kept_fraction", threads=threads, progress=False, **chosen)
        os.replace(temporary, path)
    except OSError as error:
        if isinstance(error, Error):
            raise
        raise MachineError(f"{path}: {first_line(error)}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return scorer.name + _protection(scorer, given | parameters)


def _noting(scorer: Part, file: h5py.File, parameters: dict[str, object]) -> Part:
    """The scorer with these parameters; what it returns goes to the file, too."""

    def score(view: object) -> np.ndarray:
        scores = scorer.function(view, **parameters)
        array = np.asarray(scores.detach().float().cpu() if hasattr(scores, "detach") else scores, dtype=np.float32)
        place = f"traces/{view.trace}/samples/{view.sample:04d}/{view.compression_point}/layers/{view.layer:02d}/scores"
        if array.size:
            file.create_dataset(place, data=array, track_times=False)
        return scores

    needs = tuple((what, parameters.get(window, window)) for what, window in scorer.needs)
    return replace(scorer, function=score, parameters=(), needs=needs, protected={})


def _protection(scorer: Part, values: dict[str, object]) -> str:
    kept = {what: values[value] if isinstance(value, str) else value for what, value in scorer.protected.items()}
    words = [f"{what}={value:g}" for what, value in kept.items() if value]
    return f"+protect:{','.join(words)}" if words else ""
