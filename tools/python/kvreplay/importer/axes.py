"""The order of a tensor's axes, in words, and the way from there to the order of a trace.

Words in parentheses share one axis, the first turning slowest: "(head head_dim)".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..common.errors import InputError
from ..common.nearest_name import unknown_name
from .float_arrays import FloatArray

ANY_SIZE = {"token", "layer"}
WORDS = ("batch", "layer", "head", "kv_head", "q_head", "token", "head_dim", "key_value", "hidden")


@dataclass(frozen=True)
class Sizes:
    """What the axes of one tensor must measure; `token` is free."""

    head: int
    head_dim: int
    hidden: int


@dataclass(frozen=True)
class Axes:
    """[axis][word]; a plain axis has one word."""

    groups: tuple[tuple[str, ...], ...]

    @property
    def words(self) -> list[str]:
        return [word for group in self.groups for word in group]


def parse_axes(texts: object, where: str) -> Axes:
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise InputError(f"{where}: expected a list of words, found {texts!r}")
    groups = []
    for text in texts:
        inside = text[1:-1] if text.startswith("(") and text.endswith(")") else text
        groups.append(tuple(inside.split()) if inside != text else (text,))
    axes = Axes(tuple(groups))
    for word in axes.words:
        if word not in WORDS:
            raise InputError(f"{where}: {unknown_name('axis', word, WORDS)}")
    plain = [_plain(word) for word in axes.words]
    if len(set(plain)) < len(plain):
        raise InputError(f"{where}: expected each axis once, found {texts}")
    for group in axes.groups:
        if len(group) > 1 and ANY_SIZE & set(group):
            raise InputError(f"{where}: '{'({})'.format(' '.join(group))}': token and layer have axes of their own")
    return axes


def require_words(axes: Axes, wanted: Sequence[str], where: str) -> None:
    missing = [word for word in wanted if word not in map(_plain, axes.words)]
    if missing:
        raise InputError(f"{where}: expected an axis '{missing[0]}' among {_text(axes)}, found none")


def n_tokens_of(shape: Sequence[int], axes: Axes, sizes: Sizes, where: str) -> int:
    """The size along `token`. Throws InputError where the shape is not what the axes say."""
    if len(shape) != len(axes.groups):
        raise InputError(f"{where}: expected {len(axes.groups)} axes {_text(axes)}, found a shape of {list(shape)}")
    n_tokens = 0
    for size, group in zip(shape, axes.groups):
        if group == ("token",):
            n_tokens = size
        elif group != ("layer",):
            expected = math.prod(_size(word, sizes) for word in group)
            if size != expected:
                raise InputError(
                    f"{where}: expected {expected} along '{' '.join(group)}' of {_text(axes)}, found {size} in a shape "
                    f"of {list(shape)}"
                )
    return n_tokens


def arranged(
    array: FloatArray, axes: Axes, sizes: Sizes, order: Sequence[str], layer: int | None, part: int | None
) -> FloatArray:
    """The axes `order` alone: of this layer where there is an axis of layers, keys (0) or values (1) where both are."""
    values = array.values
    shape, words = [], []
    for size, group in zip(values.shape, axes.groups):
        shape += [size] if len(group) == 1 else [_size(word, sizes) for word in group]
        words += map(_plain, group)
    values = values.reshape(shape)
    for word, index in (("batch", 0), ("layer", layer), ("key_value", part)):
        if word in words:
            values = np.take(values, index, axis=words.index(word))
            words.remove(word)
    return FloatArray(values.transpose([words.index(word) for word in order]), array.dtype)


def _size(word: str, sizes: Sizes) -> int:
    named = {"batch": 1, "key_value": 2, "head": sizes.head, "head_dim": sizes.head_dim, "hidden": sizes.hidden}
    return named[_plain(word)]


def _plain(word: str) -> str:
    return "head" if word in ("kv_head", "q_head") else word


def _text(axes: Axes) -> str:
    return (
        "[" + ", ".join(" ".join(group) if len(group) == 1 else f"({' '.join(group)})" for group in axes.groups) + "]"
    )
