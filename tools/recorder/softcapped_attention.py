"""Attention with a softcap on its logits, which PyTorch's has no argument for."""

from __future__ import annotations

import torch

QUERIES_PER_BLOCK = 256  # bounds the logits, [n_q_heads, block, n_keys]


def softcapped_attention(query, key, value, mask, scaling: float, softcap: float) -> torch.Tensor:
    """softmax(softcap * tanh(scaling * Q K^T / softcap)) V, causal where there is no mask.

    query [1, n_q_heads, n_new, head_dim]; key, value [1, n_kv_heads, n_keys, dim] -> [1, n_new, n_q_heads, value_dim]
    """
    group_size = query.shape[1] // key.shape[1]
    key, value = (tensor.repeat_interleave(group_size, dim=1) for tensor in (key, value))
    n_new, n_keys = query.shape[2], key.shape[2]
    blocks = []
    for begin in range(0, n_new, QUERIES_PER_BLOCK):
        end = min(begin + QUERIES_PER_BLOCK, n_new)
        logits = softcap * torch.tanh(query[:, :, begin:end] @ key.transpose(2, 3) * (scaling / softcap))
        if mask is None:
            rows = torch.arange(n_keys - n_new + begin, n_keys - n_new + end, device=query.device)[:, None]
            hidden = torch.arange(n_keys, device=query.device)[None, :] > rows
        else:
            hidden = mask[:, :, begin:end] < 0 if mask.dtype != torch.bool else ~mask[:, :, begin:end]
        logits = logits.masked_fill(hidden, -torch.inf)
        blocks.append(torch.softmax(logits, dim=-1, dtype=torch.float32).to(query.dtype) @ value)
    return torch.cat(blocks, dim=2).transpose(1, 2).contiguous()
