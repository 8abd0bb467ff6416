#!/usr/bin/env python3
"""Writes results as large as a study's from those of one replay: every sample, policy and point again, with 3 % of noise.

python tests/bench/tiled_results.py results.h5 large.h5 --samples 100 --policies 45
"""

from __future__ import annotations

import argparse
from pathlib import Path

import h5py
import numpy as np

MEASURES = ["predicted_kl", "output_error", "attention_recall", "kept_fraction"]
TILED = {"case", "policy"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("results", type=Path, help="of one case")
    parser.add_argument("large", type=Path)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--policies", type=int, default=45)
    options = parser.parse_args()
    with h5py.File(options.results) as small, h5py.File(options.large, "w", track_order=True) as large:
        tile(small, large, options.samples, options.policies)


def tile(small: h5py.File, large: h5py.File, n_samples: int, n_policies: int) -> None:
    large.attrs.update(small.attrs)
    cases = [f"sample{s:03}@{point}" for s in range(n_samples) for point in ("context", "prompt")]
    names = small["policy"].asstr()[:]
    policies = [name if p < len(names) else f"{name}-{p}" for p, name in enumerate(np.resize(names, n_policies))]
    labels = {"case": cases, "policy": policies}
    wanted = {part for name in MEASURES for part in (name, f"{name}_numerator", f"{name}_denominator")}
    texts = {
        "case_sample": [case.split("@")[0] for case in cases],
        "case_point": [case.split("@")[1] for case in cases],
    }
    random = np.random.default_rng(1)
    for name, stored in small.items():
        dimensions = [scale[0].name[1:] for scale in stored.dims if len(scale)]
        if name in labels or name in texts:
            copy = large.create_dataset(name, data=labels.get(name) or texts[name], dtype=stored.dtype)
        elif any(name.startswith(metric) for metric in metrics_of(small)) and name not in wanted:
            continue
        elif not TILED & set(dimensions):
            copy = large.create_dataset(name, data=stored[()], dtype=stored.dtype)
        else:
            copy = large.create_dataset(name, data=tiled(stored, dimensions, labels, random), **storage_of(stored))
        copy.attrs.update({key: value for key, value in stored.attrs.items() if key not in SCALE_ATTRIBUTES})
        if stored.is_scale:
            copy.make_scale(name)
        for axis, dimension in enumerate(dimensions):
            copy.dims[axis].attach_scale(large[dimension])


# Of HDF5's own bookkeeping of dimensions, which is made anew.
SCALE_ATTRIBUTES = {"CLASS", "NAME", "REFERENCE_LIST", "DIMENSION_LIST"}


def storage_of(stored: h5py.Dataset) -> dict:
    how = {"chunks": stored.chunks, "compression": "gzip", "compression_opts": 1, "shuffle": stored.shuffle}
    return how if stored.compression else {}


def metrics_of(results: h5py.File) -> list[str]:
    return [name for name, stored in results.items() if "formula" in stored.attrs]


def tiled(stored: h5py.Dataset, dimensions: list[str], labels: dict, random: np.random.Generator) -> np.ndarray:
    """Along cases and policies as often as there are labels. Figures get noise, so that they do not compress better than
    those of a study."""
    values = stored[()]
    for axis, dimension in enumerate(dimensions):
        if dimension in labels:
            values = np.take(values, np.arange(len(labels[dimension])) % values.shape[axis], axis=axis)
    is_sum = stored.name.endswith("_numerator") and "kept" not in stored.name
    return values * (1 + 0.03 * random.standard_normal(values.shape)) if is_sum else values


if __name__ == "__main__":
    main()
