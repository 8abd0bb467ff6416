"""Finds out how a model rotates its queries and keys (RoPE), and checks that it keeps doing so.

Configurations spell RoPE in too many ways to be trusted. Instead the modeling code's own `apply_rotary_pos_emb` is
watched: the keys before and after it tell which inverse frequencies and which layout reproduce the rotation.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import torch

from .errors import InputError

ROTATION = "apply_rotary_pos_emb"
N_CHECKED_ROWS = 8
TOLERANCE = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 4e-2}  # of the largest key, by the model's dtype
ANGLE_ROUNDING = 2e-7  # the models compute angles in float32: the error grows with the position


@dataclass
class Rope:
    layout: str  # "half": pairs (i, i + d/2), or "interleaved": pairs (2i, 2i + 1)
    inv_freq: torch.Tensor  # float64 [rotary_dim / 2], radians per position; all zero for a layer that does not rotate
    attention_scaling: float  # factor on cos and sin

    def same_as(self, other: Rope) -> bool:
        return torch.equal(self.inv_freq, other.inv_freq) and self.attention_scaling == other.attention_scaling


@dataclass
class Rotation:
    """One observed rotation of keys: `before` and `after` [n_kv_heads, n, rotary_dim or head_dim], of a whole batch with
    its rows in front."""

    before: torch.Tensor
    after: torch.Tensor

    def of_row(self, row: int, tokens: slice | torch.Tensor | None = None) -> Rotation:
        """One row of a batch, at all or some of its tokens."""
        before, after = self.before.select(0, row), self.after.select(0, row)
        return Rotation(before, after) if tokens is None else Rotation(before[:, tokens], after[:, tokens])


class RotationWitness:
    """Remembers the last rotation that the modeling code of `model` made. A context manager: it patches that code."""

    def __init__(self, model):
        names = {type(module).__module__ for module in model.modules()}
        self._modules = [sys.modules[name] for name in sorted(names) if hasattr(sys.modules[name], ROTATION)]
        self._originals = []
        self._last: tuple[torch.Tensor, torch.Tensor] | None = None

    def __enter__(self) -> RotationWitness:
        self._originals = [getattr(module, ROTATION) for module in self._modules]
        for module, original in zip(self._modules, self._originals):
            setattr(module, ROTATION, self._watch(original))
        return self

    def __exit__(self, *error) -> None:
        for module, original in zip(self._modules, self._originals):
            setattr(module, ROTATION, original)

    def _watch(self, original):
        def watched(*args, **kwargs):
            rotated = original(*args, **kwargs)
            # (q, k, cos, sin) -> (q, k); a few models rotate one tensor per call, queries first: (x, cos, sin) -> x
            pair = isinstance(rotated, tuple)
            self._last = (args[1], rotated[1]) if pair else (args[0], rotated)
            return rotated

        return watched

    def take(self, keys: torch.Tensor, layer: int) -> Rotation | None:
        """The rotation that gave `keys` [n_rows, n_kv_heads, n, head_dim], the new keys of a layer in a batch; None if
        there was none."""
        if self._last is None:
            return None
        before, after = self._last
        self._last = None
        if after.shape[:3] != keys.shape[:3]:  # some models keep [n, n_kv_heads, head_dim]
            before, after = before.transpose(1, 2), after.transpose(1, 2)
        rotary_dim = after.shape[-1]
        if after.shape[:3] != keys.shape[:3] or not torch.equal(after, keys[..., :rotary_dim]):
            if not bool(torch.isfinite(after).all()):  # no number equals NaN
                raise InputError(f"layer {layer}: keys hold NaN or infinity")
            raise InputError(f"layer {layer}: the keys change between RoPE and the cache, which a trace cannot say")
        return Rotation(before.detach(), after.detach())


def rope_candidates(model) -> list[tuple[torch.Tensor, float]]:
    """Every (inverse frequencies float64, attention scaling) that the model's modules hold, without repetition."""
    found: list[tuple[torch.Tensor, float]] = []
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if not name.endswith("inv_freq") or "original" in name:
                continue
            own = name.removesuffix("inv_freq") + "attention_scaling"  # Gemma 3: one pair per type of layer
            scaling = float(getattr(module, own, getattr(module, "attention_scaling", 1.0)))
            inv_freq = buffer.detach().cpu().double()
            if not any(scaling == other[1] and torch.equal(inv_freq, other[0]) for other in found):
                found.append((inv_freq, scaling))
    return found


def match_rope(rotation: Rotation, candidates: list[tuple[torch.Tensor, float]], layer: int) -> Rope:
    """The candidate that reproduces a rotation of the positions 0, 1, ... best; InputError when none does."""
    ropes = [Rope(layout, inv_freq, scaling) for inv_freq, scaling in candidates for layout in ("half", "interleaved")]
    ropes = [rope for rope in ropes if 2 * len(rope.inv_freq) <= rotation.after.shape[-1]]
    errors = [rotation_error(rotation, rope, 0) for rope in ropes]
    best = min(range(len(ropes)), key=errors.__getitem__, default=None)
    if best is None or not errors[best] <= TOLERANCE[rotation.after.dtype]:
        raise InputError(f"layer {layer}: its rotary embedding follows none of the model's inverse frequencies")
    return ropes[best]


def check_rotation(rotation: Rotation, rope: Rope, first_position: int, layer: int, every_row: bool = False) -> None:
    """Throws InputError when keys at `first_position`, ... are not rotated as `rope` says (long-context variants).

    every_row: whether all of them are looked at, or only a few
    """
    last_position = first_position + rotation.after.shape[1] - 1
    tolerance = TOLERANCE[rotation.after.dtype] + ANGLE_ROUNDING * last_position
    n_rows = rotation.after.shape[1] if every_row else N_CHECKED_ROWS
    error = rotation_error(rotation, rope, first_position, n_rows)
    if not error <= tolerance:
        raise InputError(
            f"layer {layer}: the rotary embedding up to position {last_position} departs from its inverse frequencies "
            f"(relative error {error:.2g}); RoPE that changes with the length cannot be recorded"
        )


def rotation_error(rotation: Rotation, rope: Rope, first_position: int, n_rows: int = N_CHECKED_ROWS) -> float:
    """Largest difference between the observed and the computed rotation, over the largest key; on `n_rows` rows."""
    n = rotation.after.shape[1]
    rows = torch.linspace(0, n - 1, min(n, n_rows)).round().long()
    before, after = (side[:, rows.to(side.device)].cpu().double() for side in (rotation.before, rotation.after))
    difference = (rotate(before, rows + first_position, rope) - after).abs().max() / after.abs().max()
    return float(difference)


def rotate(keys: torch.Tensor, positions: torch.Tensor, rope: Rope) -> torch.Tensor:
    """Rotates float64 `keys` [n_kv_heads, n, dim] by RoPE; dimensions beyond the rotary ones pass through."""
    angles = positions[:, None] * rope.inv_freq
    cos, sin = angles.cos() * rope.attention_scaling, angles.sin() * rope.attention_scaling
    n_pairs = len(rope.inv_freq)
    if rope.layout == "half":
        first, second = slice(0, n_pairs), slice(n_pairs, 2 * n_pairs)
    else:
        first, second = slice(0, 2 * n_pairs, 2), slice(1, 2 * n_pairs, 2)
    rotated = keys.clone()
    rotated[..., first] = keys[..., first] * cos - keys[..., second] * sin
    rotated[..., second] = keys[..., second] * cos + keys[..., first] * sin
    return rotated
