"""Checks that what an attention layer may see is what a trace can say: the past, or a window of it."""

from __future__ import annotations

import torch

from ..common.errors import InputError

ROWS_PER_CHECK = 512  # bounds the memory of the comparison, [rows, n_keys]
HIDDEN = -1e4  # an additive mask hides with the dtype's least number, or -inf


def check_mask(
    mask: torch.Tensor | None, n_new: int, n_keys: int, n_seen: int, window: int, causal: bool, layer: int
) -> None:
    """Throws InputError unless each query sees exactly the positions (t - window, t], or [0, t] when `window` is 0.

    mask: None, or [1 or more, 1 or more, n_new, n_keys], boolean or additive
    n_new, n_keys: queries, and keys they may see, the last of which stand at the positions before `n_seen`
    causal: whether the attention function masks the future by itself when there is no mask
    """
    if mask is None:
        if n_new > 1:
            faithful = causal and n_keys == n_new == n_seen and (window == 0 or n_new <= window)
        else:
            faithful = n_keys == (n_seen if window == 0 else min(window, n_seen))
    else:
        if mask.shape[-2:] != (n_new, n_keys):
            raise InputError(f"layer {layer}: a mask of {tuple(mask.shape)} for {n_new} queries and {n_keys} keys")
        faithful = all(
            bool(
                (
                    visible_keys(mask[..., begin : begin + ROWS_PER_CHECK, :], layer)
                    == expected_visibility(begin, min(begin + ROWS_PER_CHECK, n_new), n_new, n_keys, n_seen, window).to(
                        mask.device
                    )
                ).all()
            )
            for begin in range(0, n_new, ROWS_PER_CHECK)
        )
    if not faithful:
        allowed = f"a sliding window of {window} tokens" if window else "causal"
        raise InputError(f"layer {layer}: its attention mask is not {allowed}, as the layer's type says")


def expected_visibility(begin: int, end: int, n_new: int, n_keys: int, n_seen: int, window: int) -> torch.Tensor:
    """Boolean [end - begin, n_keys]: which keys the new queries [begin, end) see."""
    queries = torch.arange(n_seen - n_new + begin, n_seen - n_new + end)[:, None]
    keys = torch.arange(n_seen - n_keys, n_seen)[None, :]
    visible = keys <= queries
    return visible & (keys > queries - window) if window else visible


def visible_keys(mask: torch.Tensor, layer: int) -> torch.Tensor:
    """Boolean, of the mask's shape. Throws InputError for a mask that is a bias."""
    if mask.dtype == torch.bool:
        return mask
    visible = mask == 0
    if not bool((visible | (mask <= HIDDEN)).all()):
        raise InputError(f"layer {layer}: adds a bias to its attention logits, which a trace has no place for")
    return visible
