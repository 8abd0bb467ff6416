"""The attention function that a recorded model calls: plain attention that reports what went into it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable

import torch

from .errors import InputError
from .retained_attention import retained_attention
from .softcapped_attention import softcapped_attention

ATTENTION_NAME = "kvreplay_recorder"


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
        """Queries, keys and values of this pass's tokens, [heads, n_new, dim]; InputError unless all are finite."""
        n_new = self.query.shape[2]
        tensors = {"queries": self.query[0], "keys": self.key[0, :, -n_new:], "values": self.value[0, :, -n_new:]}
        for name, tensor in tensors.items():
            if not bool(torch.isfinite(tensor).all()):
                raise InputError(f"layer {self.layer}: {name} hold NaN or infinity")
        return tensors


class AttentionHook:
    """Registers itself with transformers; passes every call to `listener`.

    retained: by layer, which of the tokens before a pass its tokens may attend to, bool [heads, n_before]
    (retained_attention.py); the other layers see what the model lets them see
    """

    def __init__(self):
        self.listener: Callable[[AttentionCall], None] = lambda call: None
        self.retained: dict[int, torch.Tensor] = {}

    def register(self) -> None:
        from transformers import AttentionInterface, AttentionMaskInterface
        from transformers.masking_utils import sdpa_mask

        AttentionInterface.register(ATTENTION_NAME, self.attend)
        # Without this second registration the model makes no masks at all.
        AttentionMaskInterface.register(ATTENTION_NAME, sdpa_mask)

    def attend(self, module, query, key, value, attention_mask, scaling=None, dropout=0.0, **extras):
        """The signature of transformers' attention functions."""
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        layer = getattr(module, "layer_idx", None)
        if layer is None:
            raise InputError(f"{type(module).__name__} does not say which layer it is")
        scaling = query.shape[-1] ** -0.5 if scaling is None else float(scaling)
        softcap = float(extras.pop("softcap", None) or 0.0)
        window = int(extras.pop("sliding_window", None) or 0)
        is_causal = extras.pop("is_causal", None)
        causal = bool(getattr(module, "is_causal", True) if is_causal is None else is_causal)
        if layer in self.retained:
            output = retained_attention(query, key, value, self.retained[layer], window, scaling, softcap)
        elif softcap:
            # SDPA has no softcap; transformers' wrapper would leave it out.
            output = softcapped_attention(query, key, value, attention_mask, scaling, softcap)
        else:
            output, _ = sdpa_attention_forward(
                module, query, key, value, attention_mask, dropout=0.0, scaling=scaling, is_causal=is_causal
            )
        self.listener(
            AttentionCall(
                layer, module, query, key, value, attention_mask, scaling, softcap, window, causal, extras, output
            )
        )
        return output, None
