"""Stands before a model's generate(): refuses by name what cannot be recorded, and says how answers end."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..common.errors import InputError

DYNAMIC_CACHES = (None, "dynamic", "dynamic_full", "offloaded")


@dataclass(frozen=True)
class AnswerEnds:
    """How rows of a batch end that are ready before others: a token that ends them, then padding."""

    end_ids: frozenset[int]
    padding: int | None


NO_ENDS = AnswerEnds(frozenset(), None)


@contextmanager
def guarded_generate(model, started: Callable[[AnswerEnds], None], ended: Callable[[bool], None]) -> Iterator[None]:
    """Meanwhile model.generate() checks its settings. `started(ends)` is called before it; `ended(kept)` after it: whether
    its cache stays with the user, who may read on from it."""
    own = model.__dict__.get("generate")
    original = model.generate

    @functools.wraps(original)
    def generate(*args, **kwargs):
        def setting(name: str):
            for source in (kwargs, kwargs.get("generation_config"), model.generation_config):
                value = source.get(name) if isinstance(source, dict) else getattr(source, name, None)
                if value is not None:
                    return value
            return None

        _refuse_settings(setting)
        started(_answer_ends(setting))
        try:
            result = original(*args, **kwargs)
        except BaseException:
            ended(True)
            raise
        ended(kwargs.get("past_key_values") is not None or getattr(result, "past_key_values", None) is not None)
        return result

    model.generate = generate
    try:
        yield
    finally:
        if own is None:
            del model.generate
        else:
            model.generate = own


def _refuse_settings(setting: Callable[[str], object]) -> None:
    beams = setting("num_beams")
    if beams is not None and beams > 1:
        raise InputError(
            f"generate(num_beams={beams}): beams exchange their caches, which a trace cannot say; use num_beams=1"
        )
    for name in ("assistant_model", "prompt_lookup_num_tokens", "assistant_early_exit"):
        if setting(name) is not None:
            raise InputError(f"generate({name}=...): assisted decoding takes tokens back, which a trace cannot say")
    if setting("use_cache") is False:
        raise InputError(
            "generate(use_cache=False) reads the whole sequence again for each token; record with the cache"
        )
    cache = setting("cache_implementation")
    if cache not in DYNAMIC_CACHES:
        raise InputError(f"generate(cache_implementation='{cache}'): a trace needs the dynamic cache")


def _answer_ends(setting: Callable[[str], object]) -> AnswerEnds:
    configured = setting("eos_token_id")
    ends = (
        []
        if configured is None
        else [configured]
        if isinstance(configured, int)
        else [int(each) for each in configured]
    )
    padding = setting("pad_token_id")
    return AnswerEnds(frozenset(ends), ends[0] if padding is None and ends else padding)
