"""Policies of the program written again in Python: each must keep what its twin in C++ keeps."""

from typing import Literal

import numpy as np

import kvreplay as kr

# Values that the engine works out in another order may differ in the last bit, which moves a token here and there.
TWINS = {
    "py-norm": "knorm",
    "py-heavy": "h2o",
    "py-heavy:recent_share=0.25": "h2o:recent_share=0.25",
    "py-window": "snapkv",
    "py-window:window=16,kernel=7,pooling=max": "snapkv:window=16,kernel=7,pooling=max",
    "py-every-head": "snapkv:group=none",
    "py-norm+py-weight": "knorm+value-norm",
    "py-norm+py-weight:epsilon=100": "knorm+value-norm:epsilon=100",
    "py-heavy+py-floor": "h2o+ada",
    "py-window:window=16+py-floor:alpha=0.5": "snapkv:window=16+ada:alpha=0.5",
    "py-norm+py-everywhere": "knorm+global",
    "py-window:window=16+py-everywhere:alpha=0.2": "snapkv:window=16+global:alpha=0.2",
    "py-leverage": "py-leverage-at",  # scores for each budget are another way through the engine
    "py-future": "oracle",
}


@kr.scorer("py-norm")
def key_norm(view):
    """s_i = -||k_i||, in float64 as the program sums it"""
    return -np.sqrt(np.square(view.keys, dtype=np.float64).sum(-1))


@kr.scorer("py-heavy", needs="queries", recent_share="recent_share")
def heavy_hitters(view, recent_share=0.5):
    """all attention that the prompt paid, a share of each budget for the newest"""
    return view.attention_sums().reshape(view.n_kv_heads, -1, view.n_tokens).mean(1)


@kr.scorer("py-window", needs="queries:window", recent="window")
def window_attention(view, window=64, kernel=5, pooling: Literal["avg", "max"] = "avg"):
    """attention of the last queries, pooled over neighbours"""
    return _pooled_window(view, window, kernel, pooling).reshape(view.n_kv_heads, -1, view.n_tokens).mean(1)


@kr.scorer("py-every-head", needs="queries:64", heads="query", recent=64)
def window_of_every_head(view):
    """the same with a retained set for each query head"""
    return _pooled_window(view, 64, 5, "avg")


def _pooled_window(view, window, kernel, pooling):
    """[n_q_heads, n_tokens], 0 inside of the window"""
    paid = view.attention_sums(window)[:, : view.n_tokens - window] / window
    half = kernel // 2
    padded = np.pad(paid, ((0, 0), (half, half)), constant_values=0 if pooling == "avg" else -np.inf)
    near = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=1)
    return np.pad(near.mean(-1) if pooling == "avg" else near.max(-1), ((0, 0), (0, window)))


@kr.scorer("py-leverage")
def leverage(view):
    return view.key_leverage()


@kr.scorer_at("py-leverage-at")
def leverage_at(view, budget):
    """the same for each budget: the grammar of budgets reaches Python"""
    assert budget.tokens == max(1, int(np.floor(budget.kept * view.n_tokens + 0.5))), budget.tokens
    return view.key_leverage() * (1 if budget.tokens else 0)


@kr.scorer("py-future", looks_ahead=True)
def future(view):
    return view.evaluation_attention().reshape(view.n_kv_heads, -1, view.n_tokens).mean(1)


@kr.modifier("py-weight")
def weigh_by_value(view, scores, epsilon=0.0):
    """scores times ||v_i||_1, in place"""
    scores += np.float32(epsilon)
    scores *= view.value_norms(order=1)
    return scores


@kr.allocator("py-floor", approximate=True)
def above_floor(view, layer, alpha=0.2):
    """the best scores over all heads of a layer, above a floor"""
    tokens = [_above_floor([layer.scores(b)], alpha, [layer], b)[0] for b in range(len(layer.tokens))]
    return np.array(tokens)


@kr.allocator("py-everywhere", level="both", approximate=True)
def above_floor_everywhere(layers, alpha=0.0):
    """the best scores over all heads of all layers"""
    by_budget = [
        _above_floor([layer.scores(b) for layer in layers], alpha, layers, b) for b in range(len(layers[0].tokens))
    ]
    return [np.array([split[place] for split in by_budget]) for place in range(len(layers))]


def _above_floor(scores, alpha, layers, b):
    """[n_layers][n_heads] tokens"""
    if all(layer.tokens[b] >= layer.n_tokens for layer in layers):
        return [[layer.n_tokens] * layer.n_heads for layer in layers]
    bases, pool = [], []
    for place, layer in enumerate(layers):
        safe = int(layer.tokens[b] * alpha)
        safe = max(1, safe) if alpha > 0 and layer.tokens[b] > 0 else safe
        bases.append(max(safe, layer.protected[b]))
        for head, falling in enumerate(scores[place]):
            rest = falling[bases[-1] - layer.protected[b] :]
            pool += [(-float(score), place, head) for score in rest]
    total = sum((layer.tokens[b] - base) * layer.n_heads for layer, base in zip(layers, bases))
    split = [[base] * layer.n_heads for layer, base in zip(layers, bases)]
    for _, place, head in sorted(pool)[:total]:
        split[place][head] += 1
    return split
