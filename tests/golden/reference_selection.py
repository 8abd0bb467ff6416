"""Reference selectors that take tokens one by one, in float64: higher score = keep = earlier in the set.

Each step looks at every token that is left, with sums made anew from the set.
"""

from __future__ import annotations

import numpy as np

from tests.golden.reference_scorers import Scored, capkv_terms, leverage
from tests.golden.reference_trace import Layer


def _by_place(orders: list[np.ndarray], n: int, first: int = 0) -> np.ndarray:
    """Scores [n_heads, n] from the orders in which the tokens from `first` on are kept: minus the place."""
    scores = np.zeros((len(orders), n))
    for row, order in zip(scores, orders):
        row[first + order] = -np.arange(len(order))
    return scores


def _taken_in_order(n: int, costs, adding: bool) -> np.ndarray:
    """Tokens by place. costs(inside, candidates) are those of the next step; equal ones: the lower token stays in."""
    inside = np.full(n, not adding)
    order = []
    for _ in range(n):
        left = np.flatnonzero(inside != adding)
        cost = costs(inside, left)
        ties = left[cost == cost.min()]
        token = ties[0] if adding else ties[-1]
        inside[token] = adding
        order.append(token)
    return np.array(order if adding else order[::-1])


def _squared_errors(layer: Layer, kv_head: int):
    """errors(inside, tokens, sign): sum over the group's evaluation queries of ||o' - o||^2 after one step."""
    attention = layer.future_attention(kv_head)
    weights, local = attention[:, : layer.n], attention[:, layer.n :]
    values = layer.values[kv_head]
    full = weights @ values + local @ layer.future.values[kv_head]

    def errors(inside: np.ndarray, tokens: np.ndarray, sign: int) -> np.ndarray:
        mass = weights[:, inside].sum(axis=1) + local.sum(axis=1)
        residual = weights[:, inside] @ values[inside] + local @ layer.future.values[kv_head] - mass[:, None] * full
        # With token i: ||residual +- e_i (v_i - o)|| / (mass +- e_i).
        step = sign * weights[:, tokens]
        apart = ((values[tokens][None] - full[:, None]) ** 2).sum(axis=-1)
        along = residual @ values[tokens].T - (residual * full).sum(axis=1)[:, None]
        squared = (residual**2).sum(axis=1)[:, None] + 2 * step * along + step**2 * apart
        return (squared / (mass[:, None] + step) ** 2).sum(axis=0)

    return errors


def error_oracle(layer: Layer) -> Scored:
    """The error when a token alone is missing."""
    everything, tokens = np.ones(layer.n, dtype=bool), np.arange(layer.n)
    heads = range(layer.n_kv_heads)
    return Scored(np.stack([_squared_errors(layer, head)(everything, tokens, -1) for head in heads]))


def error_order(layer: Layer, adding: bool) -> Scored:
    """The next token leaves the least error."""
    orders = []
    for head in range(layer.n_kv_heads):
        errors = _squared_errors(layer, head)
        orders.append(_taken_in_order(layer.n, lambda inside, left: errors(inside, left, 1 if adding else -1), adding))
    return Scored(_by_place(orders, layer.n))


def capkv_order(layer: Layer, adding: bool, sinks=4, **parameters) -> Scored:
    """The next token adds most to, or takes least from, the group's mean of 1/2 log det(I + sum w u u^T)."""
    orders = []
    for kv_head in range(layer.n_kv_heads):
        group = range(kv_head * layer.group_size, (kv_head + 1) * layer.group_size)
        terms = [capkv_terms(layer, head, **parameters) for head in group]

        def costs(inside: np.ndarray, left: np.ndarray) -> np.ndarray:
            total = np.zeros(len(left))
            for _, weights, vectors in terms:
                shares = weights[left] * leverage(vectors[inside], weights[inside], vectors[left])
                total += -np.log1p(shares) / 2 if adding else -np.log1p(-shares) / 2
            return total

        orders.append(_taken_in_order(layer.n - sinks, costs, adding))
    return Scored(_by_place(orders, layer.n, sinks), sinks=sinks)
