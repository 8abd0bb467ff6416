"""Policies as texts, `scorer[:param=value,...][+modifier...][+allocator...]`, taken apart with all their parameters."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..common.errors import UsageError
from ..common.nearest_name import unknown_name

# Of a text, split at a sign outside of double quotes.
_PIECES = {sign: re.compile(rf'(?:"[^"]*"|[^"{re.escape(sign)}])+') for sign in "+,"}


@dataclass(frozen=True)
class PolicyPart:
    """values: of every parameter, as texts; defaults: likewise, of its default dialect"""

    name: str
    values: dict[str, str]
    defaults: dict[str, str]

    def __str__(self) -> str:
        """As short as it can be asked for."""
        own = [f"{name}={value}" for name, value in self.values.items() if value != self.defaults[name]]
        return f"{self.name}:{','.join(own)}" if own else self.name


def parse_policy(text: str, tables: dict) -> tuple[PolicyPart, ...]:
    """The scorer and what follows it, presets in full, `uniform` left out.

    tables: what `kvreplay policies --json` prints. Throws UsageError for unknown names and parameters."""
    scorers, presets = (_by_name(tables[kind]) for kind in ("scorers", "presets"))
    others = _by_name(tables["modifiers"]) | _by_name(tables["allocators"])
    first, *rest = _split(text, "+")
    name, _, own = first.partition(":")
    if name in presets and not (name in scorers and rest):  # a name that is both means the preset where it is alone
        preset, *more = _split(presets[name]["policy"], "+")
        scorer, _, words = preset.partition(":")
        first, rest = f"{scorer}:{','.join(filter(None, (words, own)))}", more + rest
    elif name not in scorers:
        raise UsageError(f"'{text}': {unknown_name('scorer or preset', name, [*scorers, *presets])}")
    parts = [_part(first, scorers, text), *(_part(piece, others, text) for piece in rest)]
    return tuple(part for part in parts if part.name != "uniform")


def _by_name(table: list[dict]) -> dict[str, dict]:
    return {row["name"]: row for row in table}


def _split(text: str, sign: str) -> list[str]:
    return [piece.strip() for piece in _PIECES[sign].findall(text)] or [""]


def _part(text: str, known: dict[str, dict], policy: str) -> PolicyPart:
    name, _, words = text.partition(":")
    if name not in known:
        raise UsageError(f"'{policy}': {unknown_name('modifier or allocator', name, list(known))}")
    row = known[name]
    defaults = {each["name"]: each["default"] for each in row["parameters"]}
    given = {}
    for word in _split(words, ",") if words else []:
        key, sign, value = word.partition("=")
        if not sign:
            raise UsageError(f"'{policy}': {name}: expected PARAMETER=VALUE, found '{word}'")
        given[key.strip()] = value.strip().strip('"')
    dialects = {each["name"]: each["defaults"] for each in row["dialects"]}
    dialect = given.pop("dialect", None)
    if dialect is not None and dialect not in dialects:
        raise UsageError(f"'{policy}': {name}: {unknown_name('dialect', dialect, list(dialects))}")
    for key in given:
        if key not in defaults:
            raise UsageError(f"'{policy}': {name}: {unknown_name('parameter', key, list(defaults))}")
    return PolicyPart(name, defaults | dialects.get(dialect, {}) | given, defaults)
