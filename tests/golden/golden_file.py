"""The files of golden data: what kvpress kept, and the scores that it decided by.

/                        attributes: the versions and the trace that the sets belong to; compression_ratios
/presses/NAME            attributes press (as kvpress shows it), policy (the same for kvreplay), scope
/presses/NAME/layers/LL  retained  uint8 [n_ratios, n_kv_heads, n_candidates], 1 = kept
                         scores    float32 [n_ratios, n_kv_heads, n_candidates], by which the press chose, as it
                                   returned them; [1, ...] where they are the same for all ratios; only where it
                                   has scores
                         plain     likewise, the scores of the press inside a wrapper (CriticalKVPress and others)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

RATIOS = (0.25, 0.5, 0.75, 0.9)  # shares removed
COMPRESSION = {"compression": "gzip", "compression_opts": 9, "shuffle": True}


@dataclass
class Golden:
    """One press on one trace."""

    press: str
    policy: str
    scope: str  # what competes for one budget: tokens of a "head", a "layer" or the "model", or "chunks" of a layer
    retained: dict[int, np.ndarray] = field(default_factory=dict)  # by layer, bool [n_ratios, n_heads, n_candidates]
    scores: dict[int, np.ndarray] = field(default_factory=dict)  # by layer, the same shape; empty: it has none
    plain: dict[int, np.ndarray] = field(default_factory=dict)  # likewise


def write_goldens(path: Path, attributes: dict, goldens: dict[str, Golden]) -> None:
    """`goldens` by name."""
    with h5py.File(path, "w", libver=("v110", "v110")) as file:  # thousands of small objects: compact groups
        for name, value in {**attributes, "compression_ratios": np.array(RATIOS)}.items():
            file.attrs[name] = value
        for name, golden in goldens.items():
            group = file.create_group(f"presses/{name}")
            for attribute in ("press", "policy", "scope"):
                group.attrs[attribute] = getattr(golden, attribute)
            for layer, retained in golden.retained.items():
                group.create_dataset(f"layers/{layer:02d}/retained", data=retained.astype(np.uint8), **COMPRESSION)
            for kind in ("scores", "plain"):
                for layer, scores in getattr(golden, kind).items():
                    distinct = scores[:1] if (scores == scores[0]).all() else scores
                    group.create_dataset(f"layers/{layer:02d}/{kind}", data=distinct.astype(np.float32), **COMPRESSION)


def read_goldens(path: Path) -> dict[str, Golden]:
    """By name; scores in float64."""
    goldens = {}
    with h5py.File(path) as file:
        for name, group in file["presses"].items():
            golden = Golden(*(group.attrs[attribute] for attribute in ("press", "policy", "scope")))
            for layer, datasets in group["layers"].items():
                golden.retained[int(layer)] = datasets["retained"][()].astype(bool)
                for kind in ("scores", "plain"):
                    if kind in datasets:
                        scores = np.broadcast_to(datasets[kind][()], datasets["retained"].shape)
                        getattr(golden, kind)[int(layer)] = scores.astype(np.float64)
            goldens[name] = golden
    return goldens
