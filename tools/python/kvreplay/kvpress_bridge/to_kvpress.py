"""Policies of kvreplay as presses of kvpress."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

from ..api.registry import policy_tables
from ..common.errors import UsageError
from .kvpress_library import load_kvpress
from .policy_text import PolicyPart, parse_policy
from .press_table import NEAREST, Twin, arguments_of, misfits, twins_of

if TYPE_CHECKING:
    from kvpress import BasePress

ANY_SETS = "kvreplay.RetainedPress keeps the sets of any policy"


def to_kvpress(policy: str, budget: float | None = None, *, compression_ratio: float | None = None) -> BasePress:
    """The press of kvpress that keeps the same tokens.

        press = kvreplay.to_kvpress("snapkv:window=32+ada", budget=0.25)
        with press(model):
            model.generate(...)

    policy: built-in scorers, modifiers and allocators, as `kvreplay replay` has them; presets too
    budget: share of the cache that is kept, above 0; kvpress rounds it down to whole tokens, kvreplay to the nearest
    compression_ratio: instead, the share that is removed; the same number of tokens as by the option of this name. One
        of both, but for SimLayerKV, which chooses by itself

    `attention` needs a model that attends eagerly (kvpress's ObservedAttentionPress), `ada`, `critical+ada`, `duo` and
    `kvzip` one that does not. `kvzip` wants a trace whose probe chunks are as long as the press's `chunk_size`.

    Throws UsageError for unknown names and parameters, for what no press keeps, with the nearest that has one, and
    where kvpress is not installed."""
    ratio = _ratio(budget, compression_ratio)
    parts = parse_policy(policy, policy_tables())
    twins = twins_of(_names(parts))
    wrong = misfits(parts, twins)
    if not twins or wrong:
        raise UsageError(_refusal(policy, parts, wrong if twins else []))
    if ratio is None and twins[0].press != "SimLayerKVPress":
        raise UsageError(f"'{policy}': name a budget, or a compression_ratio")
    return _press(parts, twins, ratio)


def _ratio(budget: float | None, compression_ratio: float | None) -> float | None:
    if budget is not None and compression_ratio is not None:
        raise UsageError("budget and compression_ratio exclude each other")
    if budget is not None:
        if not 0 < budget <= 1:
            raise UsageError(f"budget: expected a share of the cache above 0, up to 1, found {budget!r}")
        return 1 - budget
    if compression_ratio is not None and not 0 <= compression_ratio < 1:
        raise UsageError(f"compression_ratio: expected a share from 0 on, below 1, found {compression_ratio!r}")
    return compression_ratio


def _names(parts: tuple[PolicyPart, ...]) -> tuple[str, ...]:
    return tuple(part.name for part in parts)


def _press(parts: tuple[PolicyPart, ...], twins: list[Twin], ratio: float | None) -> BasePress:
    load_kvpress()
    values = {f"{part.name}.{name}": value for part in parts for name, value in part.values.items()}
    outer, *inner = twins
    settings = arguments_of(outer, values)
    make = _press_class(outer.press)
    if inner:
        scorer = _press_class(inner[0].press)
        return make(scorer(compression_ratio=ratio, **arguments_of(inner[0], values)), **settings)
    if outer.press == "SimLayerKVPress":
        return make(**settings)
    if outer.press == "TableDuoAttentionPress":
        return make(head_compression_ratio=ratio, **settings)
    return make(compression_ratio=ratio, **settings)


def _press_class(name: str) -> type:
    if name == "TableDuoAttentionPress":
        from .table_duo_press import TableDuoAttentionPress

        return TableDuoAttentionPress
    return getattr(load_kvpress(), name)


def _refusal(policy: str, parts: tuple[PolicyPart, ...], wrong: list[str]) -> str:
    why = f"'{policy}': no press of kvpress keeps the same tokens"
    if wrong:
        values = {f"{part.name}.{name}": value for part in parts for name, value in part.values.items()}
        why += " at " + ", ".join(f"{name.replace('.', ': ', 1)}={values[name]}" for name in wrong)
    for candidate in _candidates(parts):
        twins = twins_of(_names(candidate))
        if twins and not misfits(candidate, twins):
            nearest = "+".join(map(str, candidate))
            return f"{why}; the nearest that has one: '{nearest}' ({twins[0].press}); {ANY_SETS}"
    return f"{why}; {ANY_SETS}"


def _candidates(parts: tuple[PolicyPart, ...]) -> Iterator[tuple[PolicyPart, ...]]:
    """Policies like this one, the likest first: with other values, with parts left out, with another scorer."""
    scorer, *rest = parts
    scorers = [scorer]
    if scorer.name in NEAREST:
        scorers.append(PolicyPart(NEAREST[scorer.name], {}, {}))
    for each in scorers:
        for n_kept in range(len(rest), -1, -1):
            for kept in combinations(rest, n_kept):
                yield _mended((each, *kept))


def _mended(parts: tuple[PolicyPart, ...]) -> tuple[PolicyPart, ...]:
    """With values that its presses can be told."""
    twins = twins_of(_names(parts))
    wrong = misfits(parts, twins)
    values = {f"{part.name}.{name}": value for part in parts for name, value in part.values.items()}
    advice = {name: value for twin in twins for name, value in twin.advice.items()}
    advice |= {twin.equal[0]: values[twin.equal[1]] for twin in twins if twin.equal}

    def mended(part: PolicyPart) -> PolicyPart:
        changed = {
            name: advice.get(f"{part.name}.{name}", part.defaults[name])
            for name in part.values
            if f"{part.name}.{name}" in wrong
        }
        return replace(part, values=part.values | changed)

    return tuple(mended(part) for part in parts)
