"""One small network per KV head: z = ws . x + b + w2 . silu(W1 x + b1) on standardised, clamped features."""

from __future__ import annotations

import torch
from torch import nn

from .trace_input import ModelShape

N_HIDDEN = 64
CLAMP = 8.0
SMALLEST_DEVIATION = 1e-3


class LayerNetworks(nn.Module):
    """The networks of one layer, batched over its KV heads."""

    def __init__(self, n_heads: int, n_features: int, generator: torch.Generator, n_hidden: int = N_HIDDEN):
        super().__init__()
        self.register_buffer("mu", torch.zeros(n_heads, n_features))
        self.register_buffer("sd", torch.ones(n_heads, n_features))
        normal = torch.randn(n_heads, n_features, n_hidden, generator=generator)
        self.w1 = nn.Parameter(normal / n_features**0.5)
        self.b1 = nn.Parameter(torch.zeros(n_heads, n_hidden))
        self.w2 = nn.Parameter(0.3 / n_hidden**0.5 * torch.randn(n_heads, n_hidden, generator=generator))
        self.ws = nn.Parameter(torch.zeros(n_heads, n_features))
        self.b = nn.Parameter(torch.zeros(n_heads))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Scores [n_heads, n]. \\param features [n_heads, n, n_features]"""
        x = ((features - self.mu[:, None]) / self.sd[:, None]).clamp(-CLAMP, CLAMP)
        hidden = nn.functional.silu(torch.baddbmm(self.b1[:, None], x, self.w1))
        return (x @ self.ws[..., None] + hidden @ self.w2[..., None]).squeeze(-1) + self.b[:, None]


def make_networks(shape: ModelShape, n_features: int, seed: int) -> nn.ModuleList:
    """Networks for each recorded layer, in their order."""
    generator = torch.Generator().manual_seed(seed)
    return nn.ModuleList(LayerNetworks(shape.n_kv_heads, n_features, generator) for _ in shape.layers)
