"""Attention of a chunk of new tokens to a part of the cache before them, chosen per head."""

from __future__ import annotations

import torch
from torch.utils.checkpoint import checkpoint

QUERIES_PER_BLOCK = 256  # bounds the weights in memory, [n_q_heads, block, n_keys]


def retained_attention(query, key, value, retained, window: int, scaling: float, softcap: float) -> torch.Tensor:
    """What attention gives when only some of the tokens before the chunk are left in the cache.

    query     [1, n_q_heads, n_new, head_dim]
    key       [1, n_kv_heads, n_keys, head_dim], the last n_new of them the chunk's own; value likewise
    retained  bool [n_kv_heads or n_q_heads, n_before], of all tokens before the chunk; where the cache holds only the
              last ones of them, the last columns count
    window    0: none; otherwise a query at t sees (t - window, t]
    softcap   0: none
    returns   [1, n_new, n_q_heads, value_dim]

    A query sees the retained tokens before the chunk, and those of the chunk up to itself; all within its window.
    Gradients take the keys and values before the chunk as constants. The weights are computed again on their way: they
    are more, over all layers, than everything else that a pass has to remember.
    """
    n_q_heads, n_new = query.shape[1:3]
    n_cached, n_heads = key.shape[2] - n_new, len(retained)
    retained = retained[:, retained.shape[1] - n_cached :].to(query.device)
    if n_heads != key.shape[1]:
        key, value = (tensor.repeat_interleave(n_heads // key.shape[1], dim=1) for tensor in (key, value))
    cached, at = _kept_rows([tensor[0, :, :n_cached].detach() for tensor in (key, value)], retained)
    own = [tensor[0, :, n_cached:] for tensor in (key, value)]
    query = query[0].unflatten(0, (n_heads, n_q_heads // n_heads)) * scaling
    chunk = torch.arange(n_cached, n_cached + n_new, device=query.device)
    blocks = []
    for begin in range(0, n_new, QUERIES_PER_BLOCK):
        rows = chunk[begin : begin + QUERIES_PER_BLOCK, None]
        own_hidden = (chunk > rows) | (chunk <= rows - window if window else False)
        cached_hidden = (at[:, None] < 0) | (at[:, None] <= rows - window if window else False)
        block = query[:, :, begin : begin + QUERIES_PER_BLOCK]
        arguments = (block, *cached, *own, cached_hidden, own_hidden, softcap)
        if torch.is_grad_enabled():
            blocks.append(checkpoint(_attend, *arguments, use_reentrant=False, preserve_rng_state=False))
        else:
            blocks.append(_attend(*arguments))
    output = blocks[0] if len(blocks) == 1 else torch.cat(blocks, dim=2)
    return output.flatten(0, 1).transpose(0, 1)[None].contiguous()


def _kept_rows(cached: list[torch.Tensor], retained: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
    """The retained rows of tensors [n_heads, n_cached, dim], and each one's number among the cached.

    Heads that keep less than others are filled up with any rows, whose number is -1. Evicted tokens cost nothing: a
    third of the time of a sensitivity's passes.
    """
    n_kept = int(retained.sum(dim=1).max()) if retained.numel() else 0
    at = retained.to(torch.uint8).sort(dim=1, descending=True, stable=True).indices[:, :n_kept]
    rows = cached
    if not retained.all():
        rows = [tensor.gather(1, at[..., None].expand(-1, -1, tensor.shape[2])) for tensor in cached]
    return rows, at.masked_fill(~retained.gather(1, at), -1)


def _attend(query, cached_keys, cached_values, own_keys, own_values, cached_hidden, own_hidden, softcap: float):
    """[n_heads, group_size, n, value_dim]

    query [n_heads, group_size, n, head_dim], scaled; cached_hidden [n_heads, 1 or n, n_kept]; own_hidden [n, n_new]
    """
    rows = query.flatten(1, 2)  # a group's queries below each other: no key is copied for each
    parts = []
    for keys, hidden in ((cached_keys, cached_hidden), (own_keys, own_hidden.expand(len(rows), -1, -1))):
        logits = rows @ keys.transpose(1, 2)
        if softcap:
            logits = softcap * torch.tanh(logits / softcap)
        if hidden.any():
            logits.unflatten(1, query.shape[1:3]).masked_fill_(hidden[:, None], -torch.inf)
        parts.append(logits)
    weights = torch.softmax(torch.cat(parts, dim=-1), dim=-1, dtype=torch.float32).to(query.dtype)
    n_kept = cached_keys.shape[1]
    output = weights[..., :n_kept] @ cached_values + weights[..., n_kept:] @ own_values
    return output.unflatten(1, query.shape[1:3])
