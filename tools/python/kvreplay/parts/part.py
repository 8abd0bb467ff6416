"""A part of a policy that is written in Python, and where parts are found by their names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ..common.errors import UsageError
from .calls import call_of
from .parameters import Parameter

# Of the grammar of policies; a part of another name could not be asked for.
_NAME = re.compile(r"[^:+,= ]+")
_known: dict[tuple[str, str], Part] = {}


@dataclass(frozen=True)
class Part:
    """What a decorator makes of a function: still callable as it was, and a part of policies by its name.

    kind: "scorer", "modifier" or "allocator"
    version: of the function's source; replays of two versions are two replays
    """

    kind: str
    name: str
    function: Callable
    parameters: tuple[Parameter, ...]
    version: str
    summary: str = ""
    paper: str = ""
    needs: tuple[tuple[str, int | str | None], ...] = ()
    at_budget: bool = False
    looks_ahead: bool = False
    random: bool = False
    # of scorers
    heads: str = "kv"
    protected: dict[str, float | str] = field(default_factory=dict)
    # of allocators
    level: str = "heads"
    approximate: bool = False
    survey: Callable | None = None

    def __call__(self, *arguments: object, **parameters: object) -> object:
        return self.function(*arguments, **parameters)

    def __str__(self) -> str:
        """The name, so that f"{part}:window=16+ada" is a policy."""
        return self.name

    def row(self) -> dict:
        """As the extension module takes it."""
        own = ("kind", "name", "version", "summary", "paper", "at_budget", "looks_ahead", "random", "heads", "level")
        row = {name: getattr(self, name) for name in (*own, "approximate", "protected")}
        row["needs"] = list(self.needs)
        row["parameters"] = [parameter.row() for parameter in self.parameters]
        row["function"] = call_of(self, self.function)
        row["survey"] = None if self.survey is None else call_of(self, self.survey, surveys=True)
        return row


def remember(part: Part) -> Part:
    """Makes the part known by its name, in place of an older one. Throws UsageError for a name that the grammar of
    policies cannot have."""
    if not _NAME.fullmatch(part.name):
        raise UsageError(f"{part.kind} '{part.name}': a name must not be empty or hold one of ':+,= '")
    _known[("scorer" if part.kind == "scorer" else "other", part.name)] = part
    return part


def parts_named(policies: object) -> list[Part]:
    """The parts that policies ask for: those given as objects, and those whose names stand in texts."""
    listed = [policies] if isinstance(policies, (str, Part)) or not isinstance(policies, Iterable) else policies
    found: dict[tuple[str, str], Part] = {}
    for each in listed:
        if isinstance(each, Part):
            found[("scorer" if each.kind == "scorer" else "other", each.name)] = each
            continue
        for policy in str(each).split(","):
            for place, piece in enumerate(policy.split("+")):
                key = ("other" if place else "scorer", piece.partition(":")[0].strip())
                if key in _known:
                    found.setdefault(key, _known[key])
    return list(found.values())
