"""The command line of a replay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from ..parts.part import Part
from .words import (
    Number,
    PathLike,
    Text,
    each_option,
    flag,
    joined_option,
    listed,
    option,
    path_option,
    path_word,
    path_words,
)

Policies = Text | Part | Iterable[str | Part]
Scores = Mapping[str, PathLike] | PathLike | Iterable[PathLike]


def replay_words(
    traces: PathLike | Iterable[PathLike],
    policies: Policies | None,
    budgets: str | Number | Iterable[str | Number] | None,
    *,
    compression_ratios: str | Number | Iterable[str | Number] | None,
    compression_points: str | int | Iterable[str | int] | None,
    layers: str | int | Iterable[str | int] | None,
    samples: Text | None,
    metrics: Text | None,
    scores: Scores | None,
    seed: int,
    threads: int | None,
    memory: str | int | None,
    evict_sliding: bool,
    strict: bool,
    backend: str | None,
    output: PathLike,
    retained: PathLike | None,
    report: PathLike | None,
    force: bool,
) -> list[str]:
    """`kvreplay.replay()` has what they mean. Throws UsageError for empty lists and values of no use."""
    return [
        "replay",
        *path_option("output", output),
        *each_option("policy", _policy_texts(policies), "policies"),
        *joined_option("budget", budgets, "budgets"),
        *joined_option("compression-ratio", compression_ratios, "compression_ratios"),
        *each_option("compression-point", compression_points, "compression_points"),
        *joined_option("layer", layers, "layers"),
        *each_option("sample", samples, "samples"),
        *each_option("metric", metrics, "metrics"),
        *_score_options(scores),
        *option("seed", seed),
        *option("threads", threads),
        *option("memory", memory),
        *flag("evict-sliding", evict_sliding),
        *flag("strict", strict),
        *option("backend", backend),
        *path_option("save-retained", retained),
        *path_option("report", report),
        *flag("force", force),
        "--",
        *path_words(traces, "traces"),
    ]


def _policy_texts(policies: Policies | None) -> list | None:
    if policies is None:
        return None
    return [str(each) if isinstance(each, Part) else each for each in listed(policies, "policies")]


def _score_options(scores: Scores | None) -> list[str]:
    if scores is None:
        return []
    if isinstance(scores, Mapping):
        listed(scores, "scores")
        return [f"--scores={name}={path_word(path)}" for name, path in scores.items()]
    # A path is named here, as one with "=" in it would be split there; a text is NAME=FILE or FILE, as in the command.
    return [
        f"--scores={each}" if isinstance(each, str) else f"--scores={Path(path_word(each)).stem}={path_word(each)}"
        for each in listed(scores, "scores")
    ]
