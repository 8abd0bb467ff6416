"""Which predictions of a recorded answer count."""

from __future__ import annotations

import numpy as np


def next_token_targets(position: int, n_tokens: int, decode_start: int) -> np.ndarray:
    """The queries [position, n_tokens) that predict a decoded token, or the one after the last; none if none is."""
    predicted = np.arange(position, n_tokens) + 1
    return (predicted >= decode_start) & (decode_start < n_tokens)
