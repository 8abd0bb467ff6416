"""Runs the program on a golden trace and reads which tokens it retains."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import h5py
import numpy as np

from tests.golden.golden_file import RATIOS

PROGRAM = os.environ.get("KVREPLAY_PROGRAM")
FOLDER = Path(__file__).resolve().parent


def program_sets(trace: Path, policies: list[str], scratch: Path) -> dict[str, dict[int, np.ndarray]]:
    """Retained sets by policy and layer, bool [n_ratios, n_heads, n_candidates], all from one replay.

    Files that policies name are looked for in the folder of the golden data.
    """
    results, sets = scratch / "results.h5", scratch / "sets.h5"
    command = [Path(PROGRAM).resolve(), "replay", str(trace.resolve()), "-o", str(results), "--force", "--quiet"]
    command += ["--save-retained", str(sets), "--compression-point", "prompt", "--metric", "kept_fraction"]
    command += ["--compression-ratio", ",".join(map(str, RATIOS))]
    for policy in policies:
        command += ["--policy", policy]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(f"kvreplay fails on {trace.name}: {done.stderr}")
    with h5py.File(results) as file:
        labels = file["policy"].asstr()[()]  # in the given order; the text is the program's own
    with h5py.File(sets) as file:
        layers = file["samples/0000/prompt/layers"]
        return {
            policy: {int(layer): group[f"retained/{label}"][()].astype(bool) for layer, group in layers.items()}
            for policy, label in zip(policies, labels, strict=True)
        }


def float16_trace(trace: Path, copy: Path) -> Path:
    """The trace with all its tensors in float16."""
    with h5py.File(trace) as source, h5py.File(copy, "w", libver=("earliest", "v110")) as target:
        for name, value in source.attrs.items():
            target.attrs[name] = value
        for name in source:
            source.copy(name, target)
        tensors: list[str] = []
        target.visititems(lambda name, item: tensors.append(name) if _is_tensor(name) else None)
        for name in tensors:
            values = target[name][()].astype(np.float16)
            del target[name]
            target[name] = values
    return copy


def _is_tensor(name: str) -> bool:
    return name.rsplit("/", 1)[-1] in ("queries", "keys", "values", "output_projection")
