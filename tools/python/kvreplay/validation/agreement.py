"""How well a surrogate, computed from a trace, agrees with the loss that the live model showed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

APART = 1.5  # true losses within this factor of each other are no pair that anyone would have to order


@dataclass
class Agreement:
    """Of one surrogate with the true KL divergence.

    spearman: mean over groups of the rank correlation within each; NaN where no group has three or more to rank
    pairs_right, n_pairs: pairs of a group whose true losses are apart, and the share that the surrogate orders alike
    scale: true / predicted, the median over all; NaN for surrogates of which higher is better
    factor, factor_p90: max(a / b, b / a) of scaled prediction and truth, median and 90 % quantile
    """

    spearman: float
    n_groups: int
    pairs_right: float
    n_pairs: int
    scale: float
    factor: float
    factor_p90: float


def agreement(truth: np.ndarray, surrogate: np.ndarray, groups: np.ndarray, lower_is_better: bool) -> Agreement:
    """All arrays [n]; only what shares its number in `groups` is compared with each other.

    Rows that are not finite in either count nowhere; those that are not positive, not for the scale.
    """
    finite = np.isfinite(truth) & np.isfinite(surrogate)
    truth, groups = truth[finite], groups[finite]
    expected = surrogate[finite] if lower_is_better else -surrogate[finite]
    correlations, n_right, n_pairs = [], 0, 0
    for group in np.unique(groups):
        true, guess = truth[groups == group], expected[groups == group]
        if len(true) >= 3 and np.ptp(true) > 0:
            # A surrogate that cannot tell anything apart ranks no better than chance.
            correlations.append(spearmanr(true, guess).statistic if np.ptp(guess) > 0 else 0.0)
        apart = true[:, None] > APART * np.maximum(true[None, :], 0)
        n_pairs += int(apart.sum())
        n_right += int((apart & (guess[:, None] > guess[None, :])).sum())
    scale = factor = p90 = float("nan")
    positive = (truth > 0) & (expected > 0)
    if lower_is_better and positive.any():
        logs = np.log(truth[positive] / expected[positive])
        scale = float(np.exp(np.median(logs)))
        factor, p90 = (float(np.exp(np.quantile(np.abs(logs - np.median(logs)), q))) for q in (0.5, 0.9))
    return Agreement(
        float(np.mean(correlations)) if correlations else float("nan"),
        len(correlations),
        n_right / n_pairs if n_pairs else float("nan"),
        n_pairs,
        scale,
        factor,
        p90,
    )
