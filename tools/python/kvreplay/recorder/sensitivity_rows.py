"""Writes the sketches of a sensitivity into its group of a trace as they come."""

from __future__ import annotations

import h5py
import numpy as np
import torch

from .sensitivity_plan import KEEP_FIRST, SensitivityPlan

INT8_MAX = 127


class SensitivityRows:
    """One compression point's group /samples/NNNN/sensitivity/POINT: no more than one gradient is ever in memory."""

    def __init__(self, group: h5py.Group, plan: SensitivityPlan, layers: list[int], n_components: int, gzip: bool):
        self._group = group
        group.attrs["kind"] = "gaussian-fisher"
        group.attrs["keep_first"] = KEEP_FIRST
        group["level"] = np.array(plan.levels, dtype=np.float32)
        group["seed"] = np.array(plan.seeds, dtype=np.uint64)
        group["target_mask"] = plan.target_mask.astype(np.uint8)
        shape = (plan.n_sketches, plan.n_queries)
        options = {}
        if gzip:
            options = {"chunks": (1, plan.n_queries, n_components), "compression": "gzip", "compression_opts": 1}
        for layer in layers:
            rows = group.create_group(f"layers/{layer:02d}")
            rows.create_dataset("gradient", shape=(*shape, n_components), dtype=np.int8, **options)
            rows.create_dataset("scale", shape=shape, dtype=np.float32)

    def store(self, sketch: int, layer: int, gradient: torch.Tensor) -> None:
        """`gradient`: finite float32 [n_queries, n_components]; a row of zeros has scale 0."""
        rows = gradient.numpy()
        scale = np.abs(rows).max(axis=1) / np.float32(INT8_MAX)
        scaled = np.divide(rows, scale[:, None], out=np.zeros_like(rows), where=scale[:, None] > 0)
        group = self._group[f"layers/{layer:02d}"]
        group["gradient"][sketch] = np.clip(np.rint(scaled), -INT8_MAX, INT8_MAX).astype(np.int8)
        group["scale"][sketch] = scale

    def finish(self, perturbed_kl: list[float]) -> int:
        """The last of it; returns the bytes of the gradients with their scales, before compression."""
        self._group["perturbed_kl"] = np.array(perturbed_kl, dtype=np.float32)
        layers = self._group["layers"].values()
        return sum(rows["gradient"].size + rows["scale"].size * rows["scale"].dtype.itemsize for rows in layers)
