"""Caches that hold the first tokens of a sample and nothing else, to be read on from again and again."""

from __future__ import annotations

import copy
import inspect

import torch

from .errors import InputError


def branch_of(cache):
    """A cache that begins with the same tokens and grows by itself; throws InputError for unknown kinds of cache.

    Only references are copied: known caches grow by making new tensors.
    """
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    layers = _layers(cache)
    unknown = [layer for layer in layers if type(layer) not in (DynamicLayer, DynamicSlidingWindowLayer)]
    if unknown:
        raise InputError(
            f"its cache ({type(unknown[0]).__name__}) cannot be set back; record without --probes and --sensitivity"
        )
    branch = copy.copy(cache)
    branch.layers = [copy.copy(layer) for layer in cache.layers]
    return branch


def prefix_of(cache, n_tokens: int):
    """A cache of the first `n_tokens` tokens of `cache`; None where it has forgotten some (sliding windows)."""
    from transformers.cache_utils import DynamicLayer

    if any(type(layer) is not DynamicLayer for layer in _layers(cache)):
        return None
    prefix = branch_of(cache)
    for layer in prefix.layers:
        layer.keys, layer.values = layer.keys[:, :, :n_tokens], layer.values[:, :, :n_tokens]
    return prefix


def read_prefix(model, token_ids: list[int]):
    """The cache that one pass over these tokens leaves; call in a mode without gradients."""
    limits = {"logits_to_keep": 1} if takes_logits_to_keep(model) else {}
    input_ids = torch.tensor([token_ids], device=model.device)
    return model(input_ids=input_ids, use_cache=True, **limits).past_key_values


def takes_logits_to_keep(model) -> bool:
    return "logits_to_keep" in inspect.signature(model.forward).parameters


def _layers(cache) -> list:
    from transformers import DynamicCache

    return cache.layers if type(cache) is DynamicCache else [cache]
