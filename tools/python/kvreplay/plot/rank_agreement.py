"""How far two measures put policies into one order: as `kvreplay compare --surrogates` counts it."""

from __future__ import annotations

import numpy as np

ROUNDING = 1e-6  # relative: what sums of float32 products are good to


def goodness(values: np.ndarray, higher_is_better: bool) -> np.ndarray:
    return values if higher_is_better else -values


def deviation_goodness(shares: np.ndarray) -> np.ndarray:
    """By the distance of its logarithm from the full cache's, whichever way: of a measure that is not monotone more
    than the full cache has is no gain."""
    deviation = np.abs(np.log(np.maximum(shares, np.finfo(float).tiny)))  # NaN stays
    return -np.where(deviation < ROUNDING, 0, deviation)


def average_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1 for the smallest, [n]. Neighbours that differ by no more than a part in a million share the mean of
    their ranks. NaN stays NaN."""
    order = np.argsort(values, kind="stable")[: np.count_nonzero(~np.isnan(values))]
    ranks = np.full(len(values), np.nan)
    begin = 0
    while begin < len(order):
        end = begin + 1
        while end < len(order) and _is_tie(values[order[end - 1]], values[order[end]]):
            end += 1
        ranks[order[begin:end]] = (begin + 1 + end) / 2
        begin = end
    return ranks


def _is_tie(smaller: float, larger: float) -> bool:
    return not larger > smaller + ROUNDING * max(abs(smaller), abs(larger))


def kendall(truth: np.ndarray, surrogate: np.ndarray) -> float:
    """Kendall's tau-b of two lists of ranks, [n]; what either lacks is left out. A truth that ties everything has no
    order to find: NaN. A surrogate that ties everything has found none of it: 0."""
    known = ~(np.isnan(truth) | np.isnan(surrogate))
    signs = [np.sign(each[known][:, None] - each[known][None, :]) for each in (truth, surrogate)]
    apart = [np.count_nonzero(each) for each in signs]
    if apart[0] == 0:
        return np.nan
    if apart[1] == 0:
        return 0.0
    return float((signs[0] * signs[1]).sum() / np.sqrt(float(apart[0]) * float(apart[1])))
