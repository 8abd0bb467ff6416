"""What is read off a metric's curve over the share really kept: its area, and the smallest cache for a bound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .policies import Policy


@dataclass(frozen=True)
class Curve:
    """Points by ascending share kept, straight lines between them; no NaN."""

    kept: np.ndarray
    values: np.ndarray


def make_curve(kept: np.ndarray, values: np.ndarray) -> Curve:
    """Both [n_budgets], in any order."""
    known = np.flatnonzero(~(np.isnan(kept) | np.isnan(values)))
    order = known[np.argsort(kept[known], kind="stable")]
    return Curve(kept[order], values[order])


def area_range(curves: Sequence[Curve], policies: Sequence[Policy]) -> tuple[float, float] | None:
    """Shares kept, from and to, where all curves are known but those of policies that overspend; None where they have
    none in common. Curves at one share only have no say."""
    measured = [curve for curve, policy in zip(curves, policies) if not policy.overspends] or list(curves)
    long = [curve for curve in measured if len(curve.kept) > 0 and curve.kept[0] != curve.kept[-1]]
    if not long:
        return None
    begin, end = max(curve.kept[0] for curve in long), min(curve.kept[-1] for curve in long)
    return (begin, end) if begin < end else None


def area(curve: Curve, ends: tuple[float, float] | None) -> float:
    """Mean height over the range, by trapezoids, in the metric's unit; NaN where the curve does not cover it."""
    if ends is None or len(curve.kept) == 0 or curve.kept[0] > ends[0] or curve.kept[-1] < ends[1]:
        return np.nan
    inside = (curve.kept > ends[0]) & (curve.kept < ends[1])
    x = np.array([ends[0], *curve.kept[inside], ends[1]])
    y = np.array([height_at(curve, ends[0]), *curve.values[inside], height_at(curve, ends[1])])
    return float(((x[1:] - x[:-1]) * (y[1:] + y[:-1])).sum() / 2 / (ends[1] - ends[0]))


def height_at(curve: Curve, kept: float) -> float:
    """Where several points have one share kept, the first of them."""
    right = int(np.searchsorted(curve.kept, kept))
    if right == 0:
        return float(curve.values[0])
    return _interpolate(kept, curve.kept[right - 1], curve.values[right - 1], curve.kept[right], curve.values[right])


def smallest_cache(curve: Curve, higher_is_better: bool, bound: float) -> tuple[float, bool]:
    """The smallest share kept at which the curve is as good as the bound, interpolated between budgets; NaN: at none.
    True: the smallest budget is good enough already, and a smaller one might be."""
    good = curve.values >= bound if higher_is_better else curve.values <= bound
    if not good.any():
        return np.nan, False
    first = int(np.argmax(good))
    if first == 0:
        return float(curve.kept[0]), True
    x, y = curve.values[first - 1 : first + 1], curve.kept[first - 1 : first + 1]
    return _interpolate(bound, x[0], y[0], x[1], y[1]), False


def _interpolate(x: float, x0: float, y0: float, x1: float, y1: float) -> float:
    return float(y1 if x1 == x0 else y0 + (y1 - y0) * (x - x0) / (x1 - x0))
