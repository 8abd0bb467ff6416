"""What the engine calls: a function of a part, with its parameters, and with what it returns checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .part import Part


def call_of(part: Part, function: Callable, surveys: bool = False) -> Callable:
    """(view, ..., parameters) -> what the extension module takes. An exception of the function gets a note that says
    where it was called."""

    def call(*arguments: object) -> object:
        *given, parameters = arguments
        named = {each.name: each.python_value(parameters[each.name]) for each in part.parameters}
        try:
            # A survey has no parameters of its own: they are the allocator's.
            returned = function(*given) if surveys else function(*given, **named)
            if surveys:
                return np.asarray(returned, dtype=np.float64).reshape(-1).tolist()
            if part.kind == "allocator":
                return _budgets(part, given, returned)
            return _scores(part, given, returned)
        except BaseException as error:
            error.add_note(f"in {part.kind} '{part.name}'{_place(given[0])}, parameters {named}")
            raise

    return call


def _place(given: object) -> str:
    if isinstance(given, list):  # layers
        return f", {len(given)} layers"
    return f", layer {given.layer}, sample {given.sample}, compression point '{given.compression_point}'"


def _as_array(returned: object) -> np.ndarray:
    if hasattr(returned, "detach"):  # of torch: NumPy takes neither gradients nor a GPU's memory nor bfloat16
        returned = returned.detach().float().cpu()
    return np.asarray(returned)


def _scores(part: Part, given: list, returned: object) -> np.ndarray:
    """float32 [n_heads, n_tokens]. Throws ValueError for another shape, TypeError for what are no numbers."""
    view = given[0]
    array = _as_array(returned)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"returned {type(returned).__name__} of dtype {array.dtype}, expected numbers")
    if part.kind == "modifier":
        n_heads = given[1].shape[0]
    else:
        n_heads = view.n_q_heads if part.heads == "query" else view.n_kv_heads
    expected = (n_heads, view.n_tokens)
    if array.shape != expected:
        hint = ""
        if part.kind == "scorer" and array.shape == (view.n_q_heads, view.n_tokens):
            hint = '; heads="query" gives every query head a retained set of its own'
        raise ValueError(
            f"returned scores of shape {list(array.shape)}, expected [heads, tokens] {list(expected)}{hint}"
        )
    return np.ascontiguousarray(array, dtype=np.float32)


def _budgets(part: Part, given: list, returned: object) -> object:
    """int64 [n_budgets, n_heads], of each layer where layers are split; [n_budgets, 1]: the same for all heads."""
    if part.level == "heads":
        return _counts(returned)
    return [_counts(each) for each in returned]


def _counts(returned: object) -> np.ndarray:
    array = _as_array(returned)
    if array.dtype.kind not in "iu":
        raise TypeError(f"returned budgets of dtype {array.dtype}, expected whole numbers of tokens")
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2:
        raise ValueError(f"returned budgets of shape {list(array.shape)}, expected [budgets, heads]")
    return np.ascontiguousarray(array, dtype=np.int64)
