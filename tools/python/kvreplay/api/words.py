"""Arguments of Python as the words of a command line."""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np

from ..common.errors import UsageError

PathLike = str | os.PathLike
Number = int | float
Text = str | Iterable[str]


def path_word(path: PathLike) -> str:
    """A path that no command takes for an option, or for standard output."""
    try:
        word = os.fsdecode(path)
    except TypeError as error:
        raise UsageError(f"expected a path, found {type(path).__name__}") from error
    if not word or "\0" in word:
        raise UsageError(f"{word!r} is no path")
    return os.path.join(os.curdir, word) if word.startswith("-") else word


def path_words(paths: PathLike | Iterable[PathLike], name: str) -> list[str]:
    """One path or several. Throws UsageError where there are none."""
    return [path_word(path) for path in listed(paths, name)]


def listed(values: object, name: str) -> list:
    """One value or several as a list. Throws UsageError where there are none: nothing would mean everything."""
    if isinstance(values, (str, bytes, os.PathLike)) or not isinstance(values, Iterable):
        return [values]
    found = list(values) if not hasattr(values, "__array__") else np.atleast_1d(np.asarray(values)).tolist()
    if not found:
        raise UsageError(f"{name}: an empty list; None, or nothing at all, stands for the default")
    return found


def option(name: str, value: object) -> list[str]:
    """One word, so that a value may begin with a dash; no word for None."""
    return [] if value is None else [f"--{name}={value}"]


def path_option(name: str, path: PathLike | None) -> list[str]:
    return [] if path is None else option(name, path_word(path))


def flag(name: str, wanted: bool) -> list[str]:
    return [f"--{name}"] if wanted else []


def each_option(name: str, values: object, argument: str) -> list[str]:
    """The option once for each of the values: a comma inside of one stays what it is."""
    return [] if values is None else [word for value in listed(values, argument) for word in option(name, _text(value))]


def joined_option(name: str, values: object, argument: str) -> list[str]:
    """The option once, with all values: "0.1,0.2". A text goes as it is."""
    return [] if values is None else option(name, ",".join(map(_text, listed(values, argument))))


def _text(value: object) -> str:
    """A text as it is, a number in the shortest form that reads as the same number. Throws UsageError for others."""
    if isinstance(value, str):
        if not value:
            raise UsageError("expected a name or a number, found an empty text")
        return value
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return str(int(value))
    if isinstance(value, (float, np.floating)):
        return repr(float(value)).removesuffix(".0")
    raise UsageError(f"expected a text or a number, found {type(value).__name__}: {value!r}")
