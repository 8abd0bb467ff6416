"""Takes tokens out of a cache, in the two ways of kvpress."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..common.errors import InputError, UsageError

if TYPE_CHECKING:
    import torch


def check_prompt(keys: torch.Tensor, n_tokens: int, attention: str, press: str) -> None:
    """Throws UsageError for a batch, and for a model whose attention takes no notice of masked keys.

    keys: [n_prompts, n_kv_heads, n_cached, head_dim]; attention: the model's"""
    if len(keys) != 1:
        raise UsageError(f"{press}: expected one prompt of {n_tokens} tokens, found a batch of {len(keys)}")
    if attention == "eager":
        raise UsageError(f'{press}: masked keys are seen by eager attention: load the model with "sdpa"')


def gather(keys: torch.Tensor, values: torch.Tensor, kept: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The kept tokens in their order, where all heads keep equally many: the cache is smaller then.

    kept: bool [n_kv_heads, n_tokens]"""
    rows = kept.to(keys.device).nonzero()[:, 1].view(1, len(kept), -1, 1)
    return tuple(each.gather(2, rows.expand(-1, -1, -1, each.shape[3])).contiguous() for each in (keys, values))


def mask(module: torch.nn.Module, kept: torch.Tensor, device: torch.device) -> None:
    """Has kvpress overwrite the keys of evicted tokens when the model goes on, by keys that no query looks at, as
    AdaKVPress does. kept: bool [n_kv_heads, n_tokens]; a head has to keep something."""
    if not bool(kept.any(dim=1).all()):
        raise InputError(f"layer {module.layer_idx}: a head keeps no token of the prompt, which kvpress cannot mask")
    heads, tokens = (~kept).nonzero(as_tuple=True)
    batch = heads.new_zeros(len(heads))
    module.masked_key_indices = tuple(each.to(device) for each in (batch, heads, tokens))
