"""Head budgets of a file of format kvlkv-1 (docs/formats/learned.md), with numpy alone: for other programs that evict.

budgets = HeadBudgets.read(Path("table.h5"))               # once `kvreplay inspect` has checked it
tokens = budgets.tokens(kept=0.25, length=4096)   # [n_layers, n_kv_heads], sum = round(0.25 * 4096) * heads
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..common.errors import InputError, first_line
from ..common.inspected_file import open_inspected

FORMAT = "kvlkv-1"
MODEL = ("model_id", "n_layers", "n_q_heads", "n_kv_heads", "head_dim", "value_dim")


@dataclass(frozen=True)
class HeadBudgets:
    """The group /budget; arrays float64."""

    model: dict  # the attributes MODEL
    layers: list[int]
    scorer: str
    metric: str
    prompt_length: float
    uniform_mix: float
    least_tokens: int
    keep_first: int  # of each head's tokens, so many are the first of the cache, whatever their scores
    grid: np.ndarray  # [n_points]
    curve: np.ndarray  # [n_layers, n_kv_heads, n_points]
    retained: np.ndarray  # [n_retained]
    fraction: np.ndarray  # [n_retained, n_layers, n_kv_heads]
    trained_on: list[str]

    @classmethod
    def read(cls, path: Path) -> HeadBudgets:
        """Raises InputError: no such file, another format, no budgets in it, numbers that are not finite. UsageError:
        no program kvreplay to check it with (common/kvreplay_program.py)."""
        try:
            with open_inspected(path) as file:
                if file.attrs.get("format") != FORMAT:
                    raise InputError(f"{path}: format '{file.attrs.get('format')}', expected {FORMAT}")
                if "budget" not in file:
                    raise InputError(f"{path}: it holds no budgets, only a scorer")
                group = file["budget"]
                arrays = {name: group[name][:].astype(np.float64) for name in ("grid", "curve", "retained", "fraction")}
                for name, values in arrays.items():
                    if not np.isfinite(values).all():
                        raise InputError(f"{path}: /budget/{name} is not finite")
                return cls(
                    model={name: plain(file.attrs[name]) for name in MODEL},
                    layers=file.attrs["layers"].tolist(),
                    scorer=group.attrs["scorer"],
                    metric=group.attrs["metric"],
                    prompt_length=float(group.attrs["prompt_length"]),
                    uniform_mix=float(group.attrs["uniform_mix"]),
                    least_tokens=int(group.attrs["least_tokens"]),
                    keep_first=int(group.attrs.get("keep_first", 0)),
                    trained_on=[text.decode() for text in group["trained_on"][:]],
                    **arrays,
                )
        except (OSError, KeyError) as error:
            raise InputError(f"{path}: {first_line(error)}") from error

    def shares(self, kept: float, mix: float | None = None) -> np.ndarray:
        """Share of the cache for each head, mean `kept`: [n_layers, n_kv_heads]. As the allocator `learned` has them."""
        if not self.grid[0] * (1 - 1e-6) <= kept <= self.grid[-1] * (1 + 1e-6):
            raise InputError(
                f"the curves were measured from {self.grid[0]:.3g} to {self.grid[-1]:.3g}, not at {kept:.3g}"
            )
        curves = self.curve.reshape(-1, len(self.grid))
        pieces = []  # (gain of each unit, head, length)
        for head, curve in enumerate(curves):
            hull = lower_hull(self.grid, curve)
            for a, b in zip(hull, hull[1:]):
                length = self.grid[b] - self.grid[a]
                pieces.append(((curve[a] - curve[b]) / length, head, length))
        shares = np.full(len(curves), self.grid[0])
        left = kept * len(curves) - shares.sum()
        for _, head, length in sorted(pieces, key=lambda piece: -piece[0]):
            part = min(max(left, 0.0), length)
            shares[head] += part
            left -= part
        mix = self.uniform_mix if mix is None else mix
        return ((1 - mix) * shares + mix * kept).reshape(self.curve.shape[:2])

    def tokens(self, kept: float, length: int, mix: float | None = None, by_count: bool = False) -> np.ndarray:
        """Tokens that each head keeps of `length`, [n_layers, n_kv_heads]; their mean is exactly round(kept * length),
        half up and at least 1.

        \\param by_count  read the curves at token counts of the prompts that they were fitted on, not at shares
        """
        each = min(length, max(1, math.floor(kept * length + 0.5)))
        if each == length:
            return np.full(self.curve.shape[:2], length)
        scale = self.prompt_length if by_count else length
        wanted = self.shares(each / scale, mix).reshape(-1) * scale
        least = min(self.least_tokens, each)
        above = split_in_proportion(np.maximum(wanted - least, 0), (each - least) * len(wanted), length - least)
        return (least + above).reshape(self.curve.shape[:2])


def plain(value):
    return value if isinstance(value, str) else int(value)


def lower_hull(x: np.ndarray, y: np.ndarray) -> list[int]:
    """Indices of the points on the lower convex hull."""
    hull: list[int] = []
    for p in range(len(x)):
        while len(hull) >= 2 and (y[hull[-1]] - y[hull[-2]]) / (x[hull[-1]] - x[hull[-2]]) >= (y[p] - y[hull[-1]]) / (
            x[p] - x[hull[-1]]
        ):
            hull.pop()
        hull.append(p)
    return hull


def split_in_proportion(weights: np.ndarray, total: int, cap: int) -> np.ndarray:
    """Whole numbers that add up to `total` in proportion to the weights, none above `cap`; what the cap turns away goes
    to the others, and largest remainders are rounded up, equal ones in order."""
    exact, full = np.zeros(len(weights)), np.zeros(len(weights), bool)
    while not full.all():
        left, weight = total - cap * full.sum(), weights[~full].sum()
        exact[~full] = left * (weights[~full] / weight) if weight > 0 else left / (~full).sum()
        over = ~full & (exact >= cap)
        if not over.any():
            break
        exact[over], full = cap, full | over
    parts = np.minimum(cap, exact.astype(np.int64))
    order = np.argsort(-(exact - np.floor(exact)), kind="stable")
    while parts.sum() < total:
        for i in order:
            if parts.sum() < total and parts[i] < cap:
                parts[i] += 1
    return parts
