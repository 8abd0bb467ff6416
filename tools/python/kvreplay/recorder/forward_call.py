"""What a model is given in one forward pass, as a recording needs it; refuses by name what it cannot follow."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

import torch

from ..common.errors import InputError


@dataclass(frozen=True)
class ForwardCall:
    """ids [n_rows, n_new]; cache: None where there is none yet; n_cached: slots in it; real: which of the new tokens are
    no padding, bool [n_rows, n_new]; places [n_rows or 1, n_new]: their positions, None where they are not to be seen"""

    ids: torch.Tensor
    cache: object
    n_cached: int
    real: torch.Tensor
    places: torch.Tensor | None
    keeps_cache: bool

    @property
    def n_new(self) -> int:
        return self.ids.shape[1]


class ForwardReader:
    """Reads the arguments of a module's forward()."""

    def __init__(self, module: torch.nn.Module):
        self._signature = inspect.signature(module.forward)

    def read(self, args: tuple, kwargs: dict) -> ForwardCall:
        given = self._signature.bind_partial(*args, **kwargs).arguments
        given = {**given.pop("kwargs", {}), **given}
        ids = given.get("input_ids")
        if ids is None:
            raise InputError("the model is given inputs_embeds: a trace needs token ids (input_ids)")
        ids = ids.detach().cpu()
        ids = ids[None] if ids.ndim == 1 else ids
        cache = given.get("past_key_values")
        n_cached = 0 if cache is None else int(cache.get_seq_length())
        real = _real_tokens(given.get("attention_mask"), ids, n_cached)
        places = given.get("position_ids")
        if places is None:
            places = torch.arange(n_cached, n_cached + ids.shape[1])[None]
        places = places.detach().cpu() if places.ndim == 2 else None  # others count along more than one axis
        return ForwardCall(ids, cache, n_cached, real, places, given.get("use_cache") is not False)


def _real_tokens(mask, ids: torch.Tensor, n_cached: int) -> torch.Tensor:
    if mask is None:
        return torch.ones(ids.shape, dtype=torch.bool)
    if not torch.is_tensor(mask) or mask.ndim != 2:
        found = f"{mask.ndim} dimensions" if torch.is_tensor(mask) else type(mask).__name__
        raise InputError(f"attention_mask: expected [rows, tokens], which says what is padding, found {found}")
    if mask.shape[1] < ids.shape[1] or mask.shape[0] != ids.shape[0]:
        raise InputError(f"attention_mask: {list(mask.shape)} for input_ids {list(ids.shape)} after {n_cached} tokens")
    return mask[:, -ids.shape[1] :].detach().cpu().bool()
