"""Reads the residual stream before and after attention, for the cosine that SqueezeAttention ranks layers by."""

from __future__ import annotations

import torch

# The module whose input is the residual stream right after the attention block was added, in order of preference:
# Gemma 2 and 3 norm the attention's output by post_attention_layernorm, Llama and its kin the stream itself.
NEXT_NORMS = ("pre_feedforward_layernorm", "post_attention_layernorm")


class ResidualStream:
    """Holds the last forward pass's `before` and `after` [1, n_new, hidden_size] of one decoder block."""

    def __init__(self, block: torch.nn.Module):
        self.block = block
        self.before: torch.Tensor | None = None
        self.after: torch.Tensor | None = None
        self._handles = []

    def attach(self) -> None:
        next_norm = _next_norm(self.block)
        self._handles = [
            self.block.input_layernorm.register_forward_pre_hook(
                lambda module, inputs: setattr(self, "before", inputs[0])
            ),
            next_norm.register_forward_pre_hook(lambda module, inputs: setattr(self, "after", inputs[0])),
        ]

    def detach(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def passes_attention(self) -> bool:
        """False where attention and MLP run in parallel: then both norms read the same stream."""
        seen = self.before is not None and self.after is not None
        return seen and self.before.shape == self.after.shape and not torch.equal(self.before, self.after)

    def take(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Before and after, which are forgotten here."""
        seen = self.before.detach(), self.after.detach()
        self.before = self.after = None
        return seen


def stream_cosine(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """Cosine similarity of the streams [n, hidden_size], per token: float32 [n]."""
    return torch.nn.functional.cosine_similarity(before.float(), after.float(), dim=-1)


def find_block(model, attention: torch.nn.Module) -> torch.nn.Module | None:
    """The pre-norm decoder block around an attention module; None where it is built otherwise."""
    name = next(name for name, module in model.named_modules() if module is attention)
    block = model.get_submodule(name.rpartition(".")[0])
    pre_norm = getattr(block, "input_layernorm", None) is not None
    return block if pre_norm and _next_norm(block) is not None else None


def _next_norm(block: torch.nn.Module) -> torch.nn.Module | None:
    return next((module for name in NEXT_NORMS if (module := getattr(block, name, None)) is not None), None)
