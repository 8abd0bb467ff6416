"""Slow and obvious: a model some of whose prompt tokens cannot be seen, by transformers' own eager attention.

One pass over all tokens, without a cache: the queries before the compression point see everything, those from there on
only what is retained. Shares no code with the recorder.
"""

import importlib
from pathlib import Path
from unittest import mock

import torch


class EvictedModel:
    """Runs one token sequence; `position`: of the compression point."""

    def __init__(self, folder: Path, token_ids: list[int], position: int):
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float64)
        self.model = model.eval().requires_grad_(False)
        self.ids = torch.tensor([token_ids])
        self.position = position
        self.n_layers = model.config.num_hidden_layers
        self._code = importlib.import_module(type(model).__module__)
        self._attend = self._code.eager_attention_forward

    def logits(self, retained: dict[int, torch.Tensor] | None = None, shift=None) -> torch.Tensor:
        """Float64 [n_new, vocabulary] at the positions from the compression point on.

        retained  by layer, bool [n_kv_heads or n_q_heads, position]; without one a layer sees everything
        shift     [n_layers, n_new, n_q_heads * value_dim], added to the attention outputs before W_O
        """

        def attend(module, query, key, value, attention_mask, **kwargs):
            if retained is not None and module.layer_idx in retained:
                kept = retained[module.layer_idx]
                kept = kept.repeat_interleave(query.shape[1] // len(kept), dim=0)
                attention_mask = attention_mask.repeat(1, query.shape[1], 1, 1)
                rows = attention_mask[0, :, self.position :, : self.position]
                rows.masked_fill_(~kept[:, None, :], -torch.inf)
            output, weights = self._attend(module, query, key, value, attention_mask, **kwargs)
            if shift is not None:
                changed = output[:, self.position :] + shift[module.layer_idx].unflatten(-1, output.shape[2:])[None]
                output = torch.cat([output[:, : self.position], changed], dim=1)
            return output, weights

        with mock.patch.object(self._code, "eager_attention_forward", attend):
            return self.model(input_ids=self.ids).logits[0, self.position :]


def kl(p_logits: torch.Tensor, q_logits: torch.Tensor) -> torch.Tensor:
    """KL(p || q) of each row, nats."""
    log_p, log_q = (torch.log_softmax(logits.double(), dim=-1) for logits in (p_logits, q_logits))
    return (log_p.exp() * (log_p - log_q)).sum(dim=-1)
