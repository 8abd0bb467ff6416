"""Attention of a chunk of new tokens to a part of the cache before them, chosen per head."""

from __future__ import annotations

import torch
from torch.utils.checkpoint import checkpoint

from .attention_mask import expected_visibility
from .softcapped_attention import softcapped_attention


def retained_attention(query, key, value, retained, window: int, scaling: float, softcap: float) -> torch.Tensor:
    """What attention gives when only some of the tokens before the chunk are left in the cache.

    query     [1, n_q_heads, n_new, head_dim]
    key       [1, n_kv_heads, n_keys, head_dim], the last n_new of them the chunk's own; value likewise
    retained  bool [n_kv_heads or n_q_heads, n_before], of all tokens before the chunk; where the cache holds only the
              last ones of them, the last columns count
    returns   [1, n_new, n_q_heads, value_dim]

    A query sees the retained tokens before the chunk, and those of the chunk up to itself; all within its window.
    Where a gradient is wanted the weights are computed again on the way back: n_new x n_keys of them per head and layer
    are more than all the rest that a pass has to remember.
    """
    arguments = (query, key, value, retained, window, scaling, softcap)
    if not torch.is_grad_enabled():
        return _attend(*arguments)
    return checkpoint(_attend, *arguments, use_reentrant=False, preserve_rng_state=False)


def _attend(query, key, value, retained, window: int, scaling: float, softcap: float) -> torch.Tensor:
    n_q_heads, n_new = query.shape[1:3]
    visible = _visible(retained.to(query.device), n_new, key.shape[2], window)
    if softcap:
        return softcapped_attention(
            query, key, value, visible.repeat_interleave(n_q_heads // len(visible), dim=0)[None], scaling, softcap
        )
    n_heads = len(visible)  # the queries of a group stand below each other, so that no key is copied
    if n_heads != key.shape[1]:
        key, value = (tensor.repeat_interleave(n_heads // key.shape[1], dim=1) for tensor in (key, value))
    group_size = n_q_heads // n_heads
    bias = torch.zeros(visible.shape, dtype=query.dtype, device=query.device).masked_fill_(~visible, -torch.inf)
    output = torch.nn.functional.scaled_dot_product_attention(
        query.reshape(1, n_heads, group_size * n_new, -1),
        key,
        value,
        attn_mask=bias.repeat(1, group_size, 1)[None],
        scale=scaling,
    )
    return output.reshape(1, n_q_heads, n_new, -1).transpose(1, 2).contiguous()


def _visible(retained: torch.Tensor, n_new: int, n_keys: int, window: int) -> torch.Tensor:
    """bool [heads, n_new, n_keys]"""
    n_before = retained.shape[1]
    causal = expected_visibility(0, n_new, n_new, n_keys, n_before + n_new, window).to(retained.device)
    own = torch.ones((len(retained), n_new), dtype=torch.bool, device=retained.device)
    kept = torch.cat([retained, own], dim=1)[:, -n_keys:]
    return causal[None] & kept[:, None]
