"""The same measurements in PyTorch, float32, on a layer whose retained sets are given, as fast as we know how.

The fastest of several variants, timed on a Xeon with AVX-512 at 96 and 1,024 evaluation queries. Tried and left:
logits, softmax and product by hand instead of scaled_dot_product_attention (a tenth to a third slower); weights with
queries first instead of tokens first (a fifth to a third slower: ranks are then copied number by number); exp and a product
with the inverse sums instead of softmax for the column sums (as fast or slower); all KV heads in one batch there
(slower); new memory for each step (a quarter slower); other tiles; denormals flushed to zero (no difference).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch.nn.functional import scaled_dot_product_attention

# Measured best: queries of a KV head whose weights are held at a time, and prompt queries of a query head.
ROWS_AT_ONCE = 288
TILE = 192


@dataclass
class Layer:
    """One layer of one sample, and what the policies retain of it. Everything but the methods' own work lies ready."""

    queries: torch.Tensor  # [n_kv_heads, group_size * n_queries, head_dim]: evaluation queries, head after head
    prompt_queries: torch.Tensor  # [n_kv_heads, group_size, point, head_dim]
    keys: torch.Tensor  # [n_kv_heads, n_tokens, head_dim]
    values: torch.Tensor  # [n_kv_heads, n_tokens, value_dim]
    group_size: int
    scale: float
    point: int  # where the policies act; every token from here on is visible
    mask: torch.Tensor  # [group_size * n_queries, n_tokens]: 0 or -inf; first the tokens from `point` on
    rankings: list[torch.Tensor]  # per policy [n_kv_heads, point]: what to keep first comes first
    counts: list[int]  # tokens kept, ascending

    @property
    def n_local(self) -> int:
        return self.keys.shape[1] - self.point

    @cached_property
    def local(self) -> torch.Tensor:
        """[n_kv_heads, n_local] positions from the compression point on."""
        return torch.arange(self.point, self.keys.shape[1]).expand(len(self.keys), -1)

    @cached_property
    def first_rows(self) -> torch.Tensor:
        """[n_kv_heads, 1] row of each head's first token where all heads' tokens stand below each other."""
        return (torch.arange(len(self.keys)) * self.keys.shape[1])[:, None]

    @cached_property
    def kept(self) -> list[list[torch.Tensor]]:
        """Per policy and budget: rows of the visible tokens, head after head; the local ones first."""
        return [
            [
                (torch.cat([self.local, ranking[:, :count].sort().values], 1) + self.first_rows).flatten()
                for count in self.counts
            ]
            for ranking in self.rankings
        ]

    @cached_property
    def ranked(self) -> list[torch.Tensor]:
        """Per policy: rows of the tokens that any budget keeps, in rank order, head after head."""
        return [(ranking[:, : self.counts[-1]] + self.first_rows).flatten() for ranking in self.rankings]

    def squared_norms(self, outputs: torch.Tensor) -> torch.Tensor:
        """[n_q_heads] of outputs [n_kv_heads, group_size * n_queries, value_dim]."""
        return outputs.square().view(len(self.keys) * self.group_size, -1).sum(-1)


def causal_mask(n_queries: int, n_tokens: int, group_size: int) -> torch.Tensor:
    """For Layer.mask, where the evaluation queries stand at the last `n_queries` positions."""
    mask = torch.zeros(group_size, n_queries, n_tokens)
    mask[:, :, :n_queries] = torch.full((n_queries, n_queries), -math.inf).triu(1)
    return mask.view(-1, n_tokens)


def one_by_one(layer: Layer) -> tuple[torch.Tensor, torch.Tensor]:
    """As a good user writes it: for every policy and budget gather what is kept and attend to it.

    Returns sums over the queries of squared errors [n_policies, n_budgets, n_q_heads] and of squared norms of the
    full outputs [n_q_heads].
    """
    n_heads, n_tokens, dim = layer.keys.shape
    keys, values = layer.keys.view(-1, dim), layer.values.view(n_heads * n_tokens, -1)
    queries = layer.queries[None]

    def attend(rows: torch.Tensor) -> torch.Tensor:
        return scaled_dot_product_attention(
            queries,
            keys.index_select(0, rows).view(1, n_heads, -1, dim),
            values.index_select(0, rows).view(1, n_heads, -1, values.shape[1]),
            attn_mask=layer.mask[:, : len(rows) // n_heads],
            scale=layer.scale,
        )[0]

    everything = torch.cat([layer.local, torch.arange(layer.point).expand(n_heads, -1)], 1) + layer.first_rows
    full = attend(everything.flatten())
    errors = [torch.stack([layer.squared_norms(attend(rows) - full) for rows in budgets]) for budgets in layer.kept]
    return torch.stack(errors), layer.squared_norms(full)


def nested_budgets(layer: Layer) -> tuple[torch.Tensor, torch.Tensor]:
    """With the best trick known: weights once per layer, and per policy one pass over them in rank order, in which
    every budget adds to the sums of the one before it. Returns what one_by_one() returns.
    """
    n_heads, n_tokens, _ = layer.keys.shape
    n_rows, point, n_kept = layer.queries.shape[1], layer.point, layer.counts[-1]
    # A column of ones makes the sum of the weights another output.
    values = torch.cat([layer.values, layer.values.new_ones(n_heads, n_tokens, 1)], 2)
    dim = values.shape[2]
    ranked_values = [
        values.view(-1, dim).index_select(0, rows).view(n_heads, n_kept, dim).transpose(1, 2) for rows in layer.ranked
    ]
    local_mask = layer.mask[:, : layer.n_local].T
    cells = list(zip([0, *layer.counts], layer.counts))
    errors = torch.empty(len(ranked_values), len(cells), n_heads, n_rows)
    norms = torch.empty(n_heads, n_rows)
    for begin in range(0, n_rows, ROWS_AT_ONCE):
        rows = slice(begin, min(begin + ROWS_AT_ONCE, n_rows))
        # Tokens first: what belongs to one token lies together, and is copied as a whole.
        queries = layer.queries[:, rows].mul(layer.scale).transpose(1, 2)
        weights = torch.bmm(layer.keys, queries, out=_scratch("weights", n_heads, n_tokens, queries.shape[2]))
        weights[:, point:] += local_mask[:, rows]
        weights.sub_(weights.amax(1, keepdim=True)).exp_()
        local = torch.bmm(values[:, point:].transpose(1, 2), weights[:, point:])
        everything = torch.baddbmm(local, values[:, :point].transpose(1, 2), weights[:, :point])
        minus_full = everything[:, :-1].div(everything[:, -1:]).neg_()
        norms[:, rows] = minus_full.square().sum(1)
        flat_weights = weights.view(n_heads * n_tokens, -1)
        for policy, (order, ranked) in enumerate(zip(layer.ranked, ranked_values)):
            ordered = _scratch("ordered", n_heads * n_kept, queries.shape[2])
            torch.index_select(flat_weights, 0, order, out=ordered)
            ordered = ordered.view(n_heads, n_kept, -1)
            sums = local.clone()
            for budget, (first, last) in enumerate(cells):
                sums.baddbmm_(ranked[:, :, first:last], ordered[:, first:last])
                difference = torch.addcdiv(minus_full, sums[:, :-1], sums[:, -1:])
                errors[policy, budget, :, rows] = difference.square_().sum(1)
    heads = (n_heads * layer.group_size, -1)
    return errors.view(*errors.shape[:2], *heads).sum(-1), norms.view(heads).sum(-1)


@lru_cache(maxsize=8)
def _scratch(name: str, *shape: int) -> torch.Tensor:
    """Large memory is used again: new pages would cost more than what is written to them."""
    return torch.empty(shape)


def column_sums(layer: Layer) -> torch.Tensor:
    """Attention that all prompt queries pay to each token of the prompt, [n_q_heads, point], in tiles of queries."""
    n_heads, point, group = len(layer.keys), layer.point, layer.group_size
    sums = torch.zeros(n_heads, group, point)
    future = torch.full((TILE, TILE), -math.inf).triu(1)
    scratch = _scratch("tile", group * TILE * point)
    for head in range(n_heads):
        for begin in range(0, point, TILE):
            end = min(begin + TILE, point)
            n = end - begin
            queries = layer.prompt_queries[head, :, begin:end].mul(layer.scale).view(group * n, -1)
            weights = scratch[: group * n * end].view(group * n, end)
            torch.mm(queries, layer.keys[head, :end].T, out=weights)
            weights = weights.view(group, n, end)
            weights[:, :, begin:] += future[:n, :n]
            torch.softmax(weights, -1, out=weights)
            sums[head, :, :end] += weights.sum(1)
    return sums.view(n_heads * group, point)
