"""Scores of the methods that kvpress lacks, from the formulas of their papers; higher = keep."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tests.golden.reference_trace import Layer, rotate, softmax


@dataclass
class Scored:
    """Scores [n_heads, n] and what is kept before any score counts."""

    scores: np.ndarray
    sinks: int = 0
    recent: int = 0
    first_share: float = 0  # of the budget
    recent_share: float = 0

    @property
    def n(self) -> int:
        return self.scores.shape[1]

    def n_first(self, budget: int) -> int:
        return max(self.sinks, int(self.first_share * budget))

    def n_newest(self, budget: int) -> int:
        return max(self.recent, int(self.recent_share * budget))

    def protected(self, budget: int) -> np.ndarray:
        """Which tokens are kept whatever their score, bool [n]."""
        positions = np.arange(self.n)
        return (positions < self.n_first(budget)) | (positions >= self.n - self.n_newest(budget))

    def in_classes(self, budget: int, above: float) -> np.ndarray:
        """Scores [n_heads, n] in which all that is protected has the score `above`, higher than any other."""
        return np.where(self.protected(budget), above, self.scores)

    def in_order(self, budget: int, above: float) -> np.ndarray:
        """The same, where the protected tokens have an order too: the first ones, then the newest backwards."""
        positions = np.arange(self.n)
        order = np.where(positions < self.n_first(budget), 2 * self.n - positions, positions)
        return self.in_classes(budget, above) + np.where(self.protected(budget), order, 0)


def top(scores: np.ndarray, count: int) -> np.ndarray:
    """The `count` best of scores [...] as a mask; equal ones: the first."""
    mask = np.zeros(scores.size, dtype=bool)
    mask[np.argsort(-scores.ravel(), kind="stable")[:count]] = True
    return mask.reshape(scores.shape)


def pool(scores: np.ndarray, kernel: int, kind: str) -> np.ndarray:
    """Over the last axis, stride 1: averages count zeros beyond the ends, maxima nothing."""
    half = kernel // 2
    padding = [(0, 0)] * (scores.ndim - 1) + [(half, half)]
    padded = np.pad(scores, padding, constant_values=0 if kind == "average" else -np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=-1)
    return windows.mean(axis=-1) if kind == "average" else windows.max(axis=-1)


def unit_vectors(vectors: np.ndarray) -> np.ndarray:
    """Of length 1; a zero vector stays one."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def before_window(scores: np.ndarray, window: int) -> Scored:
    """Scores [n_heads, n - window] of the tokens before an observation window, which is kept."""
    return Scored(np.pad(scores, ((0, 0), (0, window))), recent=window)


def window_attention(layer: Layer, window: int) -> np.ndarray:
    """Attention of the last `window` queries to the tokens before them, [n_q_heads, window, n - window]."""
    return layer.attention[:, -window:, : layer.n - window]


def h2o(layer: Layer) -> Scored:
    """Accumulated attention; half of every budget for the newest tokens."""
    return Scored(layer.grouped(layer.attention.sum(axis=1)).mean(axis=1), recent_share=0.5)


def scissorhands(layer: Layer, window=400, recent=10) -> Scored:
    """Mean over those of the last queries that see a token."""
    n_seeing = np.minimum(layer.n - np.arange(layer.n), window)
    mean = layer.attention[:, -window:].sum(axis=1) / n_seeing
    return Scored(layer.grouped(mean).mean(axis=1), recent=recent)


def sage_kv(layer: Layer) -> Scored:
    return Scored(layer.grouped(layer.attention[:, -1]).mean(axis=1), sinks=4, recent_share=0.5)


def keydiff(layer: Layer) -> Scored:
    """Unlike the mean direction."""
    unit = unit_vectors(layer.keys)
    return Scored(-np.einsum("hid,hd->hi", unit, unit_vectors(unit.mean(axis=1))))


def streaming_llm(layer: Layer) -> Scored:
    """The newer the better, after 4 sinks."""
    return Scored(np.tile(np.arange(layer.n, dtype=float), (layer.n_kv_heads, 1)), sinks=4)


def snapkv(layer: Layer, group="mean", window=64) -> Scored:
    pooled = pool(window_attention(layer, window).mean(axis=1), 5, "average")
    if group == "none":
        return before_window(pooled, window)
    return before_window(getattr(layer.grouped(pooled), group)(axis=1), window)


def caote(layer: Layer, window=1, reduce="sum", output="exact") -> Scored:
    """a / (1 - a) * ||v_i - o_t||: the exact change of the output when token i alone is evicted."""
    values = layer.repeated(layer.values)  # [n_q_heads, n, value_dim]
    weights = layer.attention[:, -window:]
    if output == "exact":
        outputs = weights @ values
    else:
        outputs = np.broadcast_to(values.mean(axis=1, keepdims=True), (*weights.shape[:2], values.shape[-1]))
    distances = np.linalg.norm(values[:, None] - outputs[:, :, None], axis=-1)  # [n_q_heads, window, n]
    changes = weights / np.maximum(1 - weights, 1e-6) * distances
    return Scored(layer.grouped(getattr(changes, reduce)(axis=1)).mean(axis=1))


def lava(layer: Layer, window=32) -> Scored:
    """Pooled attention times the largest value outside the window."""
    largest = np.abs(layer.values[:, : layer.n - window]).sum(axis=-1).max(axis=1)  # [n_kv_heads]
    pooled = pool(window_attention(layer, window).mean(axis=1), 7, "maximum")
    return before_window((layer.grouped(pooled) * largest[:, None, None]).max(axis=1), window)


def cake(layer: Layer, window=32, gamma=200) -> Scored:
    weights = window_attention(layer, window)
    pooled = pool(weights.mean(axis=1) + gamma * weights.var(axis=1, ddof=1), 5, "average")
    return before_window(layer.grouped(pooled).mean(axis=1), window)


def defensive(layer: Layer, window=32) -> Scored:
    """The worst case over group and window, no less than its mean over the tokens."""
    weights = window_attention(layer, window)
    pooled = pool(weights, 5, "average")
    pooled *= weights.sum(axis=-1, keepdims=True) / pooled.sum(axis=-1, keepdims=True)
    worst = layer.grouped(pooled).max(axis=(1, 2))
    return before_window(np.maximum(worst, worst.mean(axis=1, keepdims=True)), window)


def r_kv(layer: Layer, window=8, weight=0.1, threshold=0.5) -> Scored:
    """Importance against redundancy; attention is a softmax over the keys before the window only."""
    n_old = layer.n - window
    logits = np.einsum("htd,hid->hti", layer.queries[:, -window:], layer.repeated(layer.keys[:, :n_old])) * layer.scale
    attention = pool(softmax(layer.grouped(logits).max(axis=1)).mean(axis=1), 7, "maximum")
    copied = np.stack([redundancy(keys, threshold)[:n_old] for keys in layer.keys])
    return before_window(weight * attention - (1 - weight) * copied, window)


def redundancy(keys: np.ndarray, threshold: float) -> np.ndarray:
    """How much of each key [n, dim] the others hold too, as shares, [n]."""
    unit = keys / (np.linalg.norm(keys, axis=-1, keepdims=True) + 1e-8)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, 0)
    for row in cosine:
        similar = np.flatnonzero(row > threshold)
        if len(similar):
            row[similar[-1]] = 0  # the latest copy is spared
    return softmax(cosine.mean(axis=0))


def value_norm(layer: Layer, norm="l1", of="projected") -> Scored:
    return Scored(layer.value_norms(norm, of))


def future_queries(layer: Layer, sinks=4, n_future=512) -> np.ndarray:
    """Prompt queries after the sinks, turned by the mean rotation of the positions to come."""
    angles = np.arange(layer.n, layer.n + n_future)[:, None] * layer.inv_freq
    return rotate(layer.unrotated_queries[:, sinks:], np.cos(angles).mean(axis=0), np.sin(angles).mean(axis=0))


def leverage(vectors: np.ndarray, weights: np.ndarray, of: np.ndarray | None = None) -> np.ndarray:
    """x_i^T (I + sum w u u^T)^-1 x_i of the vectors `of` [m, dim], or u themselves; u [n, dim], weights [n]."""
    of = vectors if of is None else of
    matrix = np.eye(vectors.shape[1]) + (vectors * weights[:, None]).T @ vectors
    return np.einsum("id,di->i", of, np.linalg.solve(matrix, of.T))


def _per_query_head(layer: Layer, score, sinks=4) -> Scored:
    """Group mean of score(query head, keys, values) of the tokens after the sinks, which are kept."""
    scores = [
        score(head, layer.keys[head // layer.group_size, sinks:], layer.values[head // layer.group_size, sinks:])
        for head in range(len(layer.queries))
    ]
    return Scored(np.pad(layer.grouped(np.stack(scores)).mean(axis=1), ((0, 0), (sinks, 0))), sinks=sinks)


def capkv_terms(layer: Layer, head: int, tau=5, noise=1, weight="cosine", vectors="value", sinks=4):
    """Relevance [n - sinks], weights in A [n - sinks] and u [n - sinks, dim] of the tokens after the sinks."""
    keys, values = (rows[head // layer.group_size, sinks:] for rows in (layer.keys, layer.values))
    anchor = future_queries(layer, sinks)[head].mean(axis=0)
    if weight == "cosine":
        alignment = unit_vectors(keys) @ unit_vectors(anchor)
    else:
        alignment = keys @ anchor
    relevance = np.exp(tau * (alignment - alignment.max()))
    # All u = W_O v: the d_model x d_model system is what the thin QR of W_O makes small.
    u = values if vectors == "value" else values @ np.linalg.qr(layer.projection[head].T)[1].T
    return relevance, (relevance + 1e-6) / noise, u


def capkv(layer: Layer, **parameters) -> Scored:
    """Statistical leverage of the values, weighted by how the keys lie to the mean query."""

    def score(head: int, keys: np.ndarray, values: np.ndarray) -> np.ndarray:
        relevance, weights, vectors = capkv_terms(layer, head, **parameters)
        return relevance * leverage(vectors, weights)

    return _per_query_head(layer, score)


def jacap(layer: Layer, tau=10) -> Scored:
    """The leverage of values weighted by the softmax's Jacobian at the mean query."""
    queries = future_queries(layer)
    anchors = queries.mean(axis=1)
    spread = ((queries - anchors[:, None]) ** 2).mean(axis=1)  # the diagonal of the covariance, [n_q_heads, head_dim]
    dim = layer.keys.shape[-1]

    def score(head: int, keys: np.ndarray, values: np.ndarray) -> np.ndarray:
        attention = softmax(keys @ anchors[head] / (tau * np.sqrt(dim)))
        weights = (attention * (1 - attention)) ** 2 * (keys**2 @ spread[head]) / dim
        return weights * leverage(values, weights)

    return _per_query_head(layer, score)
