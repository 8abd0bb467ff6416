"""Arrays of float16, bfloat16, float32 and float64, and the ways between them. NumPy has no bfloat16: its bits stand in
uint16."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ITEM_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}
LARGEST = {"float16": 65504.0, "bfloat16": 3.3895313892515355e38, "float32": 3.4028234663852886e38}


@dataclass
class FloatArray:
    """`values`: NumPy's array of this dtype, or the bits of bfloat16."""

    values: np.ndarray
    dtype: str


def numpy_type(dtype: str) -> np.dtype:
    """What the values are kept in, little-endian."""
    return np.dtype("<u2" if dtype == "bfloat16" else dtype).newbyteorder("<")


def is_finite(array: FloatArray) -> np.ndarray:
    if array.dtype == "bfloat16":
        return (array.values & 0x7F80) != 0x7F80
    return np.isfinite(array.values)


def widened(array: FloatArray) -> np.ndarray:
    """As float64, exactly."""
    if array.dtype == "bfloat16":
        return (array.values.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    with np.errstate(invalid="ignore"):  # NaN is as good as any value here
        return array.values.astype(np.float64)


def rounded(values: np.ndarray, dtype: str) -> FloatArray:
    """Finite float64 or float32 in a smaller type, to the nearest, ties to even. May overflow to infinity."""
    with np.errstate(over="ignore"):
        if dtype != "bfloat16":
            return FloatArray(values.astype(dtype), dtype)
        bits = values.astype(np.float32).view(np.uint32)
    return FloatArray(((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16), "bfloat16")
