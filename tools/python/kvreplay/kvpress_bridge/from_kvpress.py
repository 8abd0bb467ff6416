"""Presses of kvpress as scorers of kvreplay."""

from __future__ import annotations

import inspect
from importlib.metadata import version
from typing import TYPE_CHECKING

from ..common.errors import UsageError, first_line
from ..parts.decorators import scorer
from ..parts.part import Part
from ..parts.source_version import plain, version_of
from .kvpress_library import load_kvpress
from .press_table import own_policy

if TYPE_CHECKING:
    from kvpress import ScorerPress


def from_kvpress(press: ScorerPress, name: str | None = None) -> Part:
    """A scorer that ranks tokens by the `score()` of a press.

        norms = kvreplay.from_kvpress(KnormPress())
        kvreplay.replay("trace.h5", [norms, f"{norms}+ada", "knorm"], [0.1, 0.2])

    press: one whose `score()` looks at keys, values, W_O, or at queries by `module.q_proj` of the hidden states and the
        rotation that it is given; attention is handed to it as None. Which can be fed is found by trying it on made-up
        tensors; its compression ratio counts for nothing, replays set their own
    name: in policies; default: the class's, "knorm-press" of KnormPress

    It gets float32 tensors [1, heads, n_tokens, dim] that share the recorded memory, and must not write into them. What
    it raises in a replay arrives as it is, with a note of the place. Two settings, or two sources of its class, are two
    versions.

    Throws UsageError, with the press's name, for a press that needs what no trace holds, such as hidden states or
    queries before RoPE; for one that chooses by other means than scores; and where kvpress is not installed."""
    kvpress = load_kvpress()
    kind = type(press).__name__
    _check_kind(press, kvpress)
    from .trial import at_ratio, ratio_at, scores_of, tried  # they import torch

    try:
        needs = tried(press)
    except Exception as error:  # of the press's own code
        reason = str(error).removeprefix(f"{kind}: ") and first_line(error).removeprefix(f"{kind}: ")
        raise UsageError(f"{kind}: {reason or type(error).__name__}{_advice(kind)}") from error

    def score(view):  # no annotations: parts evaluate them, and torch is imported inside functions only
        return scores_of(press, view, needs.random)[0]

    def score_at(view, budget):
        return scores_of(at_ratio(press, ratio_at(budget, view.n_tokens)), view, needs.random)[0]

    own_name = name or kind.removesuffix("Press").lower() + "-press"
    decorate = scorer(
        own_name,
        at_budget=needs.at_budget,
        needs=needs.words(),
        random=needs.random,
        version=_version(press, kvpress),
    )
    return decorate(score_at if needs.at_budget else score)


def _check_kind(press: object, kvpress: object) -> None:
    kind = type(press).__name__
    if not isinstance(press, kvpress.BasePress):
        raise UsageError(f"expected a press of kvpress, found {kind}")
    inner = getattr(press, "press", None)
    if not isinstance(press, kvpress.ScorerPress):
        hint = f"; take its scorer, {type(inner).__name__}, and an allocator or modifier" if inner is not None else ""
        raise UsageError(f"{kind}: chooses by other means than scores of tokens{hint}{_advice(kind)}")
    for method in ("compress", "forward_hook"):
        if getattr(type(press), method) is not getattr(kvpress.ScorerPress, method):
            raise UsageError(f"{kind}: chooses by a {method}() of its own, not by scores alone{_advice(kind)}")


def _advice(kind: str) -> str:
    policy = own_policy(kind)
    return f"; kvreplay's own '{policy}' keeps the same tokens" if policy else ""


def _version(press: ScorerPress, kvpress: object) -> str:
    """Of the sources of its classes and of its settings."""
    sources = [_source(each) for each in type(press).__mro__ if each not in kvpress.ScorerPress.__mro__]
    return version_of(type(press).score, version("kvpress"), sources, _settings(press, kvpress))


def _source(kind: type) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):  # typed where nobody keeps the lines; the digest has the code of its score()
        return kind.__qualname__


def _settings(press: ScorerPress, kvpress: object) -> list:
    """All but the compression ratio, of the presses inside of it too."""
    return [
        (name, [_version(value, kvpress)] if isinstance(value, kvpress.ScorerPress) else plain(value))
        for name, value in sorted(vars(press).items())
        if name != "compression_ratio"
    ]
