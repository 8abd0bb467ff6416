"""A trace as the reference policies see it: float64, every attention weight in memory.

Policies see prompt tokens only; what comes after them is kept apart for oracles.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np


@dataclass
class Future:
    """What comes after the prompt, n_later tokens: the evaluation queries, and the local tokens of the cache."""

    queries: np.ndarray  # [n_q_heads, n_later, head_dim], post-RoPE
    keys: np.ndarray  # [n_kv_heads, n_later, head_dim], post-RoPE
    values: np.ndarray  # [n_kv_heads, n_later, value_dim]


@dataclass
class Layer:
    """One layer up to the end of the prompt, n tokens."""

    queries: np.ndarray  # [n_q_heads, n, head_dim], post-RoPE
    keys: np.ndarray  # [n_kv_heads, n, head_dim], post-RoPE
    values: np.ndarray  # [n_kv_heads, n, value_dim]
    projection: np.ndarray  # [n_q_heads, value_dim, hidden_size], the heads' blocks of W_O
    block_cosine: np.ndarray  # [n]
    inv_freq: np.ndarray  # [head_dim / 2], of RoPE in the half layout, without attention scaling
    scale: float
    future: Future | None = None

    @property
    def n(self) -> int:
        return self.keys.shape[1]

    @property
    def n_kv_heads(self) -> int:
        return len(self.keys)

    @property
    def group_size(self) -> int:
        return len(self.queries) // len(self.keys)

    @cached_property
    def attention(self) -> np.ndarray:
        """Causal softmax attention [n_q_heads, n queries, n tokens]."""
        logits = np.einsum("htd,hid->hti", self.queries, self.repeated(self.keys)) * self.scale
        logits[:, np.triu(np.ones((self.n, self.n), dtype=bool), 1)] = -np.inf
        return softmax(logits)

    def future_attention(self, kv_head: int) -> np.ndarray:
        """Full attention of the evaluation queries of a group to prompt and later tokens, [group * n_later, n + n_later]."""
        heads = slice(kv_head * self.group_size, (kv_head + 1) * self.group_size)
        keys = np.concatenate([self.keys[kv_head], self.future.keys[kv_head]])
        logits = np.einsum("htd,id->hti", self.future.queries[heads], keys) * self.scale
        n_later = logits.shape[1]
        logits[:, :, self.n :][:, np.triu(np.ones((n_later, n_later), dtype=bool), 1)] = -np.inf
        return softmax(logits).reshape(-1, len(keys))

    def repeated(self, per_kv_head: np.ndarray) -> np.ndarray:
        """[n_kv_heads, ...] -> [n_q_heads, ...]."""
        return np.repeat(per_kv_head, self.group_size, axis=0)

    def grouped(self, per_q_head: np.ndarray) -> np.ndarray:
        """[n_q_heads, ...] -> [n_kv_heads, group_size, ...]."""
        return per_q_head.reshape(self.n_kv_heads, self.group_size, *per_q_head.shape[1:])

    @cached_property
    def unrotated_queries(self) -> np.ndarray:
        """Queries before RoPE, [n_q_heads, n, head_dim]."""
        angles = np.arange(self.n)[:, None] * self.inv_freq
        return rotate(self.queries, np.cos(angles), -np.sin(angles))

    def value_norms(self, norm: str, of: str) -> np.ndarray:
        """||v_i||, or the mean over the group of ||W_O v_i||, [n_kv_heads, n]."""
        order = {"l1": 1, "l2": 2}[norm]
        if of == "value":
            return np.linalg.norm(self.values, ord=order, axis=-1)
        projected = np.einsum("hid,hdm->him", self.repeated(self.values), self.projection)
        return self.grouped(np.linalg.norm(projected, ord=order, axis=-1)).mean(axis=1)


def read_trace(path: Path) -> dict[int, Layer]:
    """The recorded layers of the first sample, by index."""
    with h5py.File(path) as file:
        if file.attrs["rope_layout"] != "half" or file.attrs["rope_attention_scaling"] != 1:
            raise ValueError("the reference knows RoPE in the half layout without scaling only")
        sample = file["samples/0000"]
        n = int(sample.attrs["decode_start"])
        n_q_heads, value_dim = int(file.attrs["n_q_heads"]), int(file.attrs["value_dim"])
        layers = {}
        for name, group in sample["layers"].items():
            projection = file[f"model/layers/{name}/output_projection"][()].astype(np.float64)
            layers[int(name)] = Layer(
                *(group[tensor][:, :n].astype(np.float64) for tensor in ("queries", "keys", "values")),
                projection.reshape(n_q_heads, value_dim, -1),
                group["block_cosine"][:n].astype(np.float64),
                file["rope_inv_freq"][()],
                float(file.attrs["softmax_scale"]),
                Future(*(group[tensor][:, n:].astype(np.float64) for tensor in ("queries", "keys", "values"))),
            )
    return layers


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis; -inf is allowed."""
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def rotate(vectors: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    """RoPE in the half layout, pairs (i, i + d/2); cos and sin [..., d/2]."""
    first, second = np.split(vectors, 2, axis=-1)
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
