"""How one budget is split over layers and heads, for the allocators that kvpress lacks.

Each gives the tokens of every head, [n_layers][n_heads], from the scores of all layers and the budget per head.
"""

from __future__ import annotations

import itertools

import numpy as np

from tests.golden.reference_scorers import Scored, capkv_terms, leverage, top, window_attention
from tests.golden.reference_trace import Layer

Counts = list[np.ndarray]


def split(weights: np.ndarray, total: int, cap: int) -> np.ndarray:
    """Whole numbers that sum to `total`, in proportion to the weights, none above the cap; largest remainder."""
    shares = np.zeros(len(weights))
    full = np.zeros(len(weights), dtype=bool)
    while True:
        shares[~full] = (total - cap * full.sum()) * weights[~full] / weights[~full].sum()
        above = ~full & (shares > cap)
        if not above.any():
            break
        full |= above
        shares[full] = cap
    counts = np.floor(shares).astype(int)
    order = np.argsort(-(shares - counts), kind="stable")
    counts[order[: total - counts.sum()]] += 1
    return counts


def _layer_counts(layers: list[Layer], scored: list[Scored], budget: int, weights) -> np.ndarray:
    """Tokens per head that each layer has beyond what it protects."""
    n_protected = int(scored[0].protected(budget).sum())
    return split(np.array(weights), (budget - n_protected) * len(layers), layers[0].n - n_protected)


def cake(layers: list[Layer], scored: list[Scored], budget: int) -> Counts:
    """Layers by the entropy of the window's attention and its variance over the window."""
    weights = []
    for layer in layers:
        attention = window_attention(layer, 32)
        entropy = -(attention * np.log(attention + 1e-10)).sum()
        weights.append(entropy * attention.var(axis=1, ddof=1).sum())
    n_protected = int(scored[0].protected(budget).sum())
    counts = _layer_counts(layers, scored, budget, weights)
    return [np.full(layer.n_kv_heads, n_protected + count) for layer, count in zip(layers, counts)]


def lava(layers: list[Layer], scored: list[Scored], budget: int, alpha=0.2) -> Counts:
    """Layers by the entropy of their scores; heads by pooled scores, mixed with equal parts."""
    open_scores = [one.scores[:, ~one.protected(budget)] for one in scored]
    weights = []
    for scores in open_scores:
        shares = scores / scores.sum()
        logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
        weights.append(-(shares * logs).sum() / np.log(scores.size))
    n_protected = int(scored[0].protected(budget).sum())
    counts = []
    for scores, count in zip(open_scores, _layer_counts(layers, scored, budget, weights)):
        pooled = top(scores, count * len(scores)).sum(axis=1)
        mixed = np.rint((1 - alpha) * pooled + np.floor(alpha * count)).astype(int)
        counts.append(np.minimum(n_protected + mixed, layers[0].n))
    return counts


def squeeze(layers: list[Layer], scored: list[Scored], budget: int, share=0.35) -> Counts:
    """Layers that hardly change the residual stream keep a share of the budget, the others get the rest."""
    cosine = np.array([layer.block_cosine.mean() for layer in layers])
    squeezed = three_means(cosine) == 2
    n_squeezed, n_layers = int(squeezed.sum()), len(layers)
    weights = np.where(squeezed, share, (n_layers - n_squeezed * share) / (n_layers - n_squeezed))
    counts = split(weights, budget * n_layers, layers[0].n)
    return [np.full(layer.n_kv_heads, count) for layer, count in zip(layers, counts)]


def three_means(numbers: np.ndarray) -> np.ndarray:
    """The best 3-means of numbers, by trying all cuts of the sorted ones; groups 0, 1, 2 by rising mean."""
    order = np.argsort(numbers, kind="stable")
    ordered = numbers[order]

    def spread(cuts: tuple[int, int]) -> float:
        return sum(((part - part.mean()) ** 2).sum() for part in np.split(ordered, cuts))

    cuts = min(itertools.combinations(range(1, len(numbers)), 2), key=spread)
    groups = np.empty(len(numbers), dtype=int)
    groups[order] = np.repeat([0, 1, 2], np.diff([0, *cuts, len(numbers)]))
    return groups


def table(layers: list[Layer], scored: list[Scored], budget: int, shares: np.ndarray) -> Counts:
    """Heads in proportion to a table [n_layers, n_kv_heads]."""
    counts = split(shares.ravel(), budget * shares.size, layers[0].n)
    return list(counts.reshape(shares.shape))


def capacity(layers: list[Layer], scored: list[Scored], ratio: float, sinks=4, **parameters) -> Counts:
    """Heads by how many of the largest losses of capacity in the model are theirs; the sinks are counted for all."""
    losses = []
    for layer, one in zip(layers, scored):
        rows = []
        for head in range(len(layer.queries)):
            _, weights, vectors = capkv_terms(layer, head, sinks=sinks, **parameters)
            rows.append(-np.log1p(-weights * leverage(vectors, weights)) / 2)
        losses.append(np.pad(layer.grouped(np.stack(rows)).mean(axis=1), ((0, 0), (sinks, 0))))
    n, n_heads = layers[0].n, sum(len(rows) for rows in losses)
    budget = int(n * (1 - ratio))
    n_first = min(max(scored[0].n_first(budget), sinks), budget)
    n_newest = min(scored[0].n_newest(budget), budget - n_first)
    guarded = (np.arange(n) < n_first) | (np.arange(n) >= n - n_newest)
    open_losses = np.concatenate(losses)[:, ~guarded]
    total = n_heads * n - int(n_heads * n * ratio) - n_heads * guarded.sum()
    counts = guarded.sum() + top(open_losses, total).sum(axis=1)
    return np.split(counts, np.cumsum([len(rows) for rows in losses])[:-1])
