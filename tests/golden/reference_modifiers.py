"""What turns scores into scores, for the methods that kvpress lacks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.golden.reference_scorers import Scored, top, window_attention
from tests.golden.reference_trace import Layer


def caote(layer: Layer, scored: Scored, output="exact") -> Scored:
    """Scores as shares take the place of attention in CAOTE's formula."""
    scores = scored.scores - min(0, scored.scores.min())
    shares = scores / scores.sum(axis=1, keepdims=True)
    if output == "exact":
        outputs = np.einsum("hi,hid->hd", shares, layer.values)
    else:
        outputs = layer.values.mean(axis=1)
    distances = np.linalg.norm(layer.values - outputs[:, None], axis=-1)
    return replace(scored, scores=shares / np.maximum(1 - shares, 1e-6) * distances)


def value_norm(layer: Layer, scored: Scored, norm="l1", of="value", epsilon=0.0) -> Scored:
    return replace(scored, scores=(scored.scores + epsilon) * layer.value_norms(norm, of))


def block(layer: Layer, scored: Scored, length=16, reduce="mean") -> Scored:
    """The tokens of a block share one score."""
    blocks = np.split(scored.scores, range(length, scored.n, length), axis=1)
    shared = [np.broadcast_to(getattr(part, reduce)(axis=1, keepdims=True), part.shape) for part in blocks]
    return replace(scored, scores=np.concatenate(shared, axis=1))


def protect(layer: Layer, scored: Scored, sinks=0, recent=0, first_share=0.0, recent_share=0.0) -> Scored:
    """What is protected already stays so."""
    return replace(
        scored,
        sinks=max(sinks, scored.sinks),
        recent=max(recent, scored.recent),
        first_share=max(first_share, scored.first_share),
        recent_share=max(recent_share, scored.recent_share),
    )


def defensive_critical(layer: Layer, scored: Scored, ratio: float, window=32, mass=0.9) -> Scored:
    """DefensiveKV's form of CriticalKV: the heads' shares of ||W_O v|| at each position weigh the scores.

    The tokens that hold most of a head's mean attention get the best score.
    """
    n_old = layer.n - window
    norms = layer.value_norms("l1", "projected")
    scores = (scored.scores * norms / norms.sum(axis=0))[:, :n_old]
    weights = window_attention(layer, window)
    # The authors' code takes the last columns of what lies before the window for the window's own.
    bias = weights[..., -window:].sum(axis=-1).mean()
    mean = layer.grouped(weights).mean(axis=(1, 2))
    largest = scores.max()
    limit = max(0, int(n_old * (1 - ratio) - window))
    for head, row in enumerate(mean):
        cumulated = np.cumsum(np.sort(row / row.sum())[::-1])
        count = min(int(np.argmax(cumulated >= mass - bias)), limit)
        scores[head, top(row, count)] = largest
    return replace(scored, scores=np.pad(scores, ((0, 0), (0, window))))
