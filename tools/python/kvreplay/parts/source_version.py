"""What tells two versions of a function apart: a replay of one must not be taken for a replay of the other."""

from __future__ import annotations

import hashlib
import inspect
import textwrap
from collections.abc import Callable
from types import CodeType


def version_of(function: Callable, *settings: object) -> str:
    """A digest of the function's source, of the plain values that it closes over, and of settings.

    What else it calls is not looked at: whoever changes a helper says so by `version=`."""
    digest = hashlib.sha256()
    for part in (_source(function), *_closed_over(function), *settings):
        digest.update(repr(part).encode() + b"\0")
    return digest.hexdigest()[:16]


def _source(function: Callable) -> object:
    try:
        return textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):  # made by exec(), or typed where nobody keeps the lines
        return _code(function.__code__) if hasattr(function, "__code__") else type(function).__qualname__


def _code(code: CodeType) -> tuple:
    constants = [_code(each) if isinstance(each, CodeType) else each for each in code.co_consts]
    return (code.co_code, code.co_names, constants)


def _closed_over(function: Callable) -> list[object]:
    return [plain(cell.cell_contents) for cell in getattr(function, "__closure__", None) or () if _is_filled(cell)]


def _is_filled(cell: object) -> bool:
    try:
        cell.cell_contents
    except ValueError:
        return False
    return True


def plain(value: object) -> object:
    if isinstance(value, (bool, int, float, str, bytes, type(None))):
        return value
    if isinstance(value, (tuple, list)):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return [(plain(key), plain(each)) for key, each in value.items()]
    if hasattr(value, "__array__"):
        import numpy as np

        array = np.asarray(value)
        return (array.shape, str(array.dtype), hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest())
    if callable(value) and hasattr(value, "__code__"):
        return _source(value)
    return type(value).__qualname__
