"""The attention function that a recorded model calls: plain attention that reports what went into it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Callable

import torch

from .errors import InputError
from .retained_attention import retained_attention

ATTENTION_NAME = "kvreplay_recorder"
QUERIES_PER_BLOCK = 256  # of the attention with softcap; bounds its logits, [n_q_heads, block, n_keys]


@dataclass
class AttentionCall:
    """What one attention layer saw in one forward pass."""

    layer: int
    module: torch.nn.Module
    query: torch.Tensor  # [1, n_q_heads, n_new, head_dim], after RoPE and norms
    key: torch.Tensor  # [1, n_kv_heads, n_keys, head_dim], from the cache; a sliding layer's cache holds the last ones
    value: torch.Tensor  # [1, n_kv_heads, n_keys, value_dim]
    mask: torch.Tensor | None
    scaling: float
    softcap: float  # 0: none
    window: int  # 0: full attention
    causal: bool
    extras: dict[str, object]  # all further arguments
    output: torch.Tensor  # [1, n_new, n_q_heads, value_dim]

    def new_tokens(self) -> dict[str, torch.Tensor]:
        """Queries, keys and values of this pass's tokens, [heads, n_new, dim], where the batch has one row."""
        n_new, n_keys = self.query.shape[2], self.key.shape[2]
        keys, values = (each.select(0, 0).narrow(1, n_keys - n_new, n_new) for each in (self.key, self.value))
        return {"queries": self.query.select(0, 0), "keys": keys, "values": values}


def refuse_infinite(layer: int, tensors: dict[str, torch.Tensor]) -> None:
    """Throws InputError unless all numbers are finite."""
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise InputError(f"layer {layer}: {name} hold NaN or infinity")


class AttentionHook:
    """Registers itself with transformers; passes every call to `listener`.

    implementation: who computes: "sdpa", or "eager", the model's own plain attention
    retained: by layer, which of the tokens before a pass its tokens may attend to, bool [heads, n_before]
    (retained_attention.py); the other layers see what the model lets them see
    """

    def __init__(self, implementation: str = "sdpa"):
        self.implementation = implementation
        self.listener: Callable[[AttentionCall], None] = lambda call: None
        self.retained: dict[int, torch.Tensor] = {}

    def register(self) -> None:
        from transformers import AttentionInterface, AttentionMaskInterface
        from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
        from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

        AttentionInterface.register(ATTENTION_NAME, self.attend)
        # kvpress puts its own around all functions that are registered when it is imported; these would hide this one.
        ALL_ATTENTION_FUNCTIONS[ATTENTION_NAME] = self.attend
        # Without this second registration the model makes no masks at all.
        AttentionMaskInterface.register(ATTENTION_NAME, ALL_MASK_ATTENTION_FUNCTIONS[self.implementation])

    def attend(self, module, query, key, value, attention_mask, dropout=0.0, scaling=None, **extras):
        """The signature of transformers' attention functions."""
        from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

        layer = getattr(module, "layer_idx", None)
        if layer is None:
            raise InputError(f"{type(module).__name__} does not say which layer it is")
        scaling = query.shape[-1] ** -0.5 if scaling is None else float(scaling)
        given, weights = dict(extras), None
        softcap = float(extras.pop("softcap", None) or 0.0)
        window = int(extras.pop("sliding_window", None) or 0)
        is_causal = extras.pop("is_causal", None)
        causal = bool(getattr(module, "is_causal", True) if is_causal is None else is_causal)
        if layer in self.retained:
            output = retained_attention(query, key, value, self.retained[layer], window, scaling, softcap)
        elif self.implementation == "eager":
            eager = sys.modules[type(module).__module__].eager_attention_forward
            output, weights = eager(module, query, key, value, attention_mask, scaling=scaling, dropout=0.0, **given)
        elif softcap:
            # SDPA has no softcap; transformers' wrapper would leave it out.
            output = softcapped_attention(query, key, value, attention_mask, scaling, softcap)
        else:
            # As it is registered now: other libraries put their own in its place (kvpress, where heads keep different tokens).
            sdpa = ALL_ATTENTION_FUNCTIONS["sdpa"]
            output, _ = sdpa(
                module, query, key, value, attention_mask, dropout=0.0, scaling=scaling, is_causal=is_causal
            )
        self.listener(
            AttentionCall(
                layer, module, query, key, value, attention_mask, scaling, softcap, window, causal, extras, output
            )
        )
        return output, weights


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
