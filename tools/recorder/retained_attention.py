"""Attention of a chunk of new tokens to a part of the cache before them, chosen per head."""

from __future__ import annotations

import torch
from torch.utils.checkpoint import checkpoint

from .attention_mask import expected_visibility

QUERIES_PER_BLOCK = 256  # bounds the weights in memory, [n_q_heads, block, n_keys]


def retained_attention(query, key, value, retained, window: int, scaling: float, softcap: float) -> torch.Tensor:
    """What attention gives when only some of the tokens before the chunk are left in the cache.

    query     [1, n_q_heads, n_new, head_dim]
    key       [1, n_kv_heads, n_keys, head_dim], the last n_new of them the chunk's own; value likewise
    retained  bool [n_kv_heads or n_q_heads, n_before], of all tokens before the chunk; where the cache holds only the
              last ones of them, the last columns count
    softcap   0: none
    returns   [1, n_new, n_q_heads, value_dim]

    A query sees the retained tokens before the chunk, and those of the chunk up to itself; all within its window.
    Gradients take the keys and values before the chunk as constants. The weights are computed again on their way: they
    are more, over all layers, than everything else that a pass has to remember.
    """
    n_q_heads, n_new = query.shape[1:3]
    n_cached = key.shape[2] - n_new
    n_heads = len(retained)
    retained = retained[:, retained.shape[1] - n_cached :].to(query.device)
    if n_heads != key.shape[1]:
        key, value = (tensor.repeat_interleave(n_heads // key.shape[1], dim=1) for tensor in (key, value))
    cached = [tensor[0, :, :n_cached].detach() for tensor in (key, value)]
    own = [tensor[0, :, n_cached:] for tensor in (key, value)]
    query = query[0].unflatten(0, (n_heads, n_q_heads // n_heads)) * scaling
    blocks = []
    for begin in range(0, n_new, QUERIES_PER_BLOCK):
        end = min(begin + QUERIES_PER_BLOCK, n_new)
        visible = expected_visibility(begin, end, n_new, n_cached + n_new, n_cached + n_new, window)
        visible = visible.to(query.device).repeat(n_heads, 1, 1)
        visible[:, :, :n_cached] &= retained[:, None]
        arguments = (query[:, :, begin:end], *cached, *own, ~visible, softcap)
        if torch.is_grad_enabled():
            blocks.append(checkpoint(_attend, *arguments, use_reentrant=False, preserve_rng_state=False))
        else:
            blocks.append(_attend(*arguments))
    output = blocks[0] if len(blocks) == 1 else torch.cat(blocks, dim=2)
    return output.flatten(0, 1).transpose(0, 1)[None].contiguous()


def _attend(query, cached_keys, cached_values, own_keys, own_values, hidden, softcap: float) -> torch.Tensor:
    """query [n_heads, group_size, n, head_dim], scaled; hidden [n_heads, n, n_keys] -> [n_heads, group_size, n, dim]"""
    n_cached, rows = cached_keys.shape[1], query.flatten(1, 2)  # a group's queries below each other: no key is copied
    logits = torch.cat([rows @ cached_keys.transpose(1, 2), rows @ own_keys.transpose(1, 2)], dim=-1)
    if softcap:
        logits = softcap * torch.tanh(logits / softcap)
    logits.unflatten(1, query.shape[1:3]).masked_fill_(hidden[:, None], -torch.inf)
    weights = torch.softmax(logits, dim=-1, dtype=torch.float32).to(query.dtype)
    output = weights[..., :n_cached] @ cached_values + weights[..., n_cached:] @ own_values
    return output.unflatten(1, query.shape[1:3])
