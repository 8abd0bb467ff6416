"""What a scorer knows of a token: its key before RoPE, its value, their norms, where it stands.

The same numbers as policies/shared/token_features.cpp.
"""

from __future__ import annotations

import torch

from ..common.rotary_embedding import Rope
from .attention import masked_softmax
from .trace_input import LayerTensors, ModelShape

FEATURES = "k_unrot,v,lnk,lnv,ln1pi,ln1pr,frac"
QUERY_FEATURES = "lna1,lna8,lna64"
QUERY_WINDOWS = (1, 8, 64)
SMALLEST_NORM = 1e-6
SMALLEST_ATTENTION = 1e-6


def n_features(shape: ModelShape, with_queries: bool) -> int:
    return shape.head_dim + shape.value_dim + 5 + (len(QUERY_WINDOWS) if with_queries else 0)


def remove_rope(keys: torch.Tensor, rope: Rope | None) -> torch.Tensor:
    """Keys as they were before RoPE. \\param keys float32 [n_kv_heads, n, head_dim], row i at position i"""
    if rope is None:
        return keys
    # Models round angles to float32; to take off what they put on is to round alike.
    angles = torch.arange(keys.shape[1]).float()[:, None] * rope.inv_freq.float()
    cos, sin = angles.cos() / rope.attention_scaling, angles.sin() / rope.attention_scaling
    n_pairs = len(rope.inv_freq)
    if rope.layout == "half":
        first, second = slice(0, n_pairs), slice(n_pairs, 2 * n_pairs)
    else:
        first, second = slice(0, 2 * n_pairs, 2), slice(1, 2 * n_pairs, 2)
    plain = keys.clone()
    plain[..., first] = keys[..., first] * cos + keys[..., second] * sin
    plain[..., second] = keys[..., second] * cos - keys[..., first] * sin
    return plain


def token_features(layer: LayerTensors, length: int, shape: ModelShape, with_queries: bool) -> torch.Tensor:
    """The features of the prompt's tokens, float32 [n_kv_heads, length, n_features].

    Key before RoPE, value, ln(||k|| + 1e-6), ln(||v|| + 1e-6), ln(1 + i), ln(length - i), i / length; with queries
    also ln(a_w + 1e-6) for w = 1, 8, 64: the mean attention of the last w prompt queries and the group's heads.
    """
    keys = remove_rope(layer.keys[:, :length], layer.rope)
    values = layer.values[:, :length]
    at = torch.arange(length).float()
    places = torch.stack([(1 + at).log(), (length - at).log(), at / length], dim=-1)
    columns = [
        keys,
        values,
        (keys.norm(dim=-1, keepdim=True) + SMALLEST_NORM).log(),
        (values.norm(dim=-1, keepdim=True) + SMALLEST_NORM).log(),
        places.expand(keys.shape[0], -1, -1),
    ]
    if with_queries:
        columns.append(_window_attention(layer, length, shape))
    return torch.cat(columns, dim=-1)


def _window_attention(layer: LayerTensors, length: int, shape: ModelShape) -> torch.Tensor:
    """[n_kv_heads, length, 3]"""
    n = layer.window_queries.shape[1]
    positions = torch.arange(length - n, length)
    rows = masked_softmax(layer.window_queries, layer.keys[:, :length], positions, layer.sliding_window, shape)
    of_group = rows.reshape(shape.n_kv_heads, shape.group_size, n, length).mean(dim=1)
    means = [of_group[:, n - window :].mean(dim=1) for window in QUERY_WINDOWS]
    return (torch.stack(means, dim=-1) + SMALLEST_ATTENTION).log()
