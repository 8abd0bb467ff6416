"""Presses of policies at work in a model: what the cache keeps, and how the model goes on."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..api.registry import policy_tables
from ..common.errors import UsageError
from .policy_text import PolicyPart, parse_policy
from .to_kvpress import to_kvpress

if TYPE_CHECKING:
    from kvpress import BasePress

EAGER = ("ObservedAttentionPress",)  # they look at the attention weights, which other functions do not hand out


def policy_parts(policy: str) -> tuple[PolicyPart, ...]:
    """Throws UsageError for unknown names and parameters."""
    return parse_policy(policy, policy_tables())


def press_of(policy: str, budget: float) -> BasePress:
    """The press that keeps the policy's tokens, learned head budgets among them. Throws UsageError where there is none,
    and where kvpress is not installed; InputError for a table that is broken."""
    *ranked_by, last = policy_parts(policy)
    if last.name != "learned":
        return to_kvpress(policy, budget)
    odd = [
        name for name, value in last.values.items() if name not in ("table", "trained") and value != last.defaults[name]
    ]
    if odd:
        raise UsageError(f"'{policy}': no press keeps the same tokens at learned: {', '.join(odd)}")
    from .head_budget_press import HeadBudgetPress

    return HeadBudgetPress(Path(last.values["table"]), to_kvpress("+".join(map(str, ranked_by)), budget), budget)


def attention_for(press: BasePress) -> str:
    """The attention function with which the model has to be loaded."""
    inner = getattr(press, "press", press)
    return "eager" if type(inner).__name__ in EAGER else "sdpa"


@torch.inference_mode()
def answer(model, ids: list[int], n_tokens: int, press: BasePress | None) -> tuple[list[int], float]:
    """Greedy tokens after the prompt, and the share of its cache that is kept; None keeps everything."""
    with nullcontext() if press is None else press(model):
        out = model(input_ids=torch.tensor([ids], device=model.device), use_cache=True)
    cache, found = out.past_key_values, [int(out.logits[0, -1].argmax())]
    share = _share_kept(model, cache, len(ids))
    for position in range(len(ids), len(ids) + n_tokens - 1):  # its own, as the cache may be shorter
        at = torch.tensor([[position]], device=model.device)
        last = torch.tensor([[found[-1]]], device=model.device)
        out = model(input_ids=last, past_key_values=cache, position_ids=at, use_cache=True)
        cache = out.past_key_values
        found.append(int(out.logits[0, -1].argmax()))
    return found, share


def _share_kept(model, cache, n_tokens: int) -> float:
    """Of keys, over heads and layers: kvpress takes tokens away or marks them as masked."""
    masked = {
        module.layer_idx: module.masked_key_indices
        for module in model.modules()
        if hasattr(module, "layer_idx") and getattr(module, "masked_key_indices", None) is not None
    }
    kept = n_all = 0
    for index, layer in enumerate(cache.layers):
        _, n_heads, n_cached, _ = layer.keys.shape
        kept += n_heads * n_cached - (len(masked[index][0]) if index in masked else 0)
        n_all += n_heads * n_tokens
    return kept / n_all
