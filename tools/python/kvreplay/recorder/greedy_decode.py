"""Runs a prompt through the model in one pass and decodes greedily."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..common.errors import InputError
from ..common.prefix_cache import takes_logits_to_keep
from .batch_capture import BatchCapture
from .sample_plan import SamplePlan


@dataclass
class DecodedTokens:
    ids: list[int]
    eos_masked_at: int | None  # position at which the model first wanted to end its answer
    cache: object  # the model's, with all tokens in it


def run_sample(model, plan: SamplePlan, capture: BatchCapture, end_ids: set[int], progress) -> DecodedTokens:
    """Prefill and `plan.n_decode` decoded tokens, each of which also passes the model, so that it leaves a query.

    An end token never wins: the next best one does, so that as many real decode queries exist as were asked for.
    `progress(done)` is called after each pass with the number of tokens done.
    """
    limits = {"logits_to_keep": 1} if takes_logits_to_keep(model) else {}
    ids, cache = torch.tensor([plan.prompt_ids], device=model.device), None
    decoded = DecodedTokens([], None, None)
    position = 0
    with torch.inference_mode():
        while True:
            capture.begin_pass(ids.shape[1])
            out = model(input_ids=ids, past_key_values=cache, use_cache=True, **limits)
            capture.end_pass()
            if capture.lost:
                raise InputError("the cached keys or values change while decoding, which a trace cannot say")
            cache, position = out.past_key_values, position + ids.shape[1]
            progress(position)
            if position == plan.n_tokens:
                decoded.cache = cache
                return decoded
            token, masked = _best_token(out.logits[0, -1].float(), end_ids, position)
            if masked and decoded.eos_masked_at is None:
                decoded.eos_masked_at = position
            decoded.ids.append(token)
            ids = torch.tensor([[token]], device=model.device)


def _best_token(logits: torch.Tensor, end_ids: set[int], position: int) -> tuple[int, bool]:
    """The most probable token that is not an end token, and whether an end token was more probable."""
    if bool(torch.isnan(logits).any()):
        raise InputError(f"the model's logits for position {position} hold NaN")
    best = int(logits.argmax())
    if best not in end_ids:
        return best, False
    logits[sorted(end_ids)] = -torch.inf
    return int(logits.argmax()), True
