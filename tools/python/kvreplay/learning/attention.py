"""Attention of recorded queries on recorded keys, and what becomes of it when tokens are taken away."""

from __future__ import annotations

import torch

from .trace_input import LayerTensors, ModelShape


def masked_logits(
    queries: torch.Tensor, keys: torch.Tensor, positions: torch.Tensor, sliding_window: int, shape: ModelShape
) -> torch.Tensor:
    """[n_q_heads, n_queries, n_keys], -inf where a query does not look: past itself, or before its sliding window.

    \\param queries [n_q_heads, n_queries, head_dim] \\param keys [n_kv_heads, n_keys, head_dim], row i at position i
    """
    logits = shape.softmax_scale * queries @ keys.repeat_interleave(shape.group_size, dim=0).transpose(-1, -2)
    if shape.logit_softcap > 0:
        logits = shape.logit_softcap * (logits / shape.logit_softcap).tanh()
    at = torch.arange(keys.shape[1])
    hidden = at[None, :] > positions[:, None]
    if sliding_window > 0:
        hidden |= at[None, :] <= positions[:, None] - sliding_window
    return logits.masked_fill(hidden, float("-inf"))


def masked_softmax(queries, keys, positions, sliding_window: int, shape: ModelShape) -> torch.Tensor:
    """Attention [n_q_heads, n_queries, n_keys]; parameters as of masked_logits()."""
    return masked_logits(queries, keys, positions, sliding_window, shape).softmax(dim=-1)


def future_attention(layer: LayerTensors, length: int, shape: ModelShape) -> torch.Tensor:
    """F, [n_kv_heads, length]: the mean attention that a prompt token gets from the decode queries.

    Over queries and the query heads of the group; the softmax runs over all tokens that a query sees.
    """
    sums = torch.zeros(shape.n_q_heads, length)
    n = layer.queries.shape[1]
    for begin in range(0, n, 128):  # decode may be long
        some = slice(begin, begin + 128)
        rows = masked_softmax(layer.queries[:, some], layer.keys, layer.positions[some], layer.sliding_window, shape)
        sums += rows[..., :length].sum(dim=1)
    return sums.reshape(shape.n_kv_heads, shape.group_size, length).mean(dim=1) / n
