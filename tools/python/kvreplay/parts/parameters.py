"""Parameters of a part: the keyword arguments of its function, as the grammar of policies has them."""

from __future__ import annotations

import contextlib
import inspect
import math
import typing
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

from ..common.errors import UsageError

SWITCH = ("false", "true")


@dataclass(frozen=True)
class Parameter:
    """kind: "count" (int), "real" (float), "choice" (one of several texts) or "switch" (bool)"""

    name: str
    kind: str
    default: str
    choices: tuple[str, ...] = ()

    def row(self) -> dict:
        """As the extension module takes it."""
        kind = "choice" if self.kind == "switch" else self.kind
        return {"name": self.name, "kind": kind, "default": self.default, "choices": list(self.choices)}

    def python_default(self) -> object:
        """What the function has in its signature."""
        return {"count": int, "real": float}.get(self.kind, self.python_value)(self.default)

    def python_value(self, value: object) -> object:
        """What the function gets."""
        return value == "true" if self.kind == "switch" else value


def parameters_of(function: Callable, positional: tuple[str, ...], what: str) -> tuple[Parameter, ...]:
    """What stands in the signature after the arguments that every such function takes.

    Throws UsageError for another number of those, and for parameters without a default or of other types."""
    given = list(inspect.signature(function).parameters.values())
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    leading = [each for each in given if each.kind in plain and each.default is each.empty]
    if len(leading) != len(positional) or leading != given[: len(positional)]:
        raise UsageError(f"{what}: expected the arguments ({', '.join(positional)}), then parameters with defaults")
    hints = _annotations(function)
    return tuple(_parameter(each, hints.get(each.name), what) for each in given[len(positional) :])


def _annotations(function: Callable) -> dict[str, object]:
    """Those that can be evaluated: a name that is imported for type checkers alone is no error here."""
    written = getattr(function, "__annotations__", None) or {}
    found = {}
    for name, annotation in written.items():
        alone = SimpleNamespace(__annotations__={name: annotation})
        with contextlib.suppress(NameError, AttributeError):
            found |= typing.get_type_hints(alone, getattr(function, "__globals__", {}))
    return found


def _parameter(given: inspect.Parameter, hint: object, what: str) -> Parameter:
    name, value = given.name, given.default
    if value is given.empty or given.kind in (inspect.Parameter.POSITIONAL_ONLY,):
        raise UsageError(f"{what}: parameter '{name}' needs a default, and a name to be given by")
    if isinstance(value, bool):
        return Parameter(name, "switch", SWITCH[value], SWITCH)
    if isinstance(value, int) and value >= 0:
        return Parameter(name, "count", str(value))
    if isinstance(value, float) and math.isfinite(value):
        return Parameter(name, "real", repr(value).removesuffix(".0"))
    choices = typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()
    if isinstance(value, str) and value in choices and all(isinstance(each, str) for each in choices):
        return Parameter(name, "choice", value, tuple(choices))
    raise UsageError(
        f"{what}: the default of parameter '{name}' is {value!r}; expected a whole number from 0 on, a finite float, a "
        'bool, or a text with its choices in the annotation, Literal["avg", "max"]'
    )
