"""Attention outputs when prompt tokens are kept in part or not at all, and what that costs after W_O."""

from __future__ import annotations

import torch

from .attention import masked_logits
from .trace_input import LayerTensors, ModelShape


def projection_factor(output_projection: torch.Tensor) -> torch.Tensor:
    """L with ||d W_O|| = ||d L|| for every head, [n_q_heads, value_dim, value_dim].

    \\param output_projection  as read_output_projection() returns it
    """
    gram = output_projection.double() @ output_projection.double().transpose(-1, -2)
    values, vectors = torch.linalg.eigh(gram)  # a W_O of low rank has no Cholesky factor
    return (vectors * values.clamp_min(0).sqrt()[..., None, :]).float()


class DecodeAttention:
    """The decode queries of one layer over its whole cache, ready to be taken apart."""

    def __init__(self, layer: LayerTensors, length: int, shape: ModelShape):
        logits = masked_logits(layer.queries, layer.keys, layer.positions, layer.sliding_window, shape)
        self._weights = (logits - logits.amax(dim=-1, keepdim=True)).exp()  # [n_q_heads, n_queries, n_tokens]
        self._values = layer.values.repeat_interleave(shape.group_size, dim=0)
        self._length, self._group_size = length, shape.group_size
        self._full = self._outputs(self._weights)

    def _outputs(self, weights: torch.Tensor) -> torch.Tensor:
        return weights @ self._values / weights.sum(dim=-1, keepdim=True)

    def squared_errors(self, kept: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        """Mean over the queries of ||W_O^h (o~ - o)||^2, [n_q_heads].

        \\param kept  [n_kv_heads, length], 0 to 1; what comes after the prompt is kept
        """
        after = torch.ones(kept.shape[0], self._weights.shape[-1] - self._length)
        mask = torch.cat([kept, after], dim=-1).repeat_interleave(self._group_size, dim=0)
        difference = self._outputs(self._weights * mask[:, None]) - self._full
        return (difference @ factor).square().sum(dim=-1).mean(dim=-1)
