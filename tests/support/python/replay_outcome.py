"""Writes by hand what `kvreplay replay --save-retained` leaves, as far as kvreplay validate reads it."""

from pathlib import Path

import h5py
import numpy as np


def write_results(
    path: Path, trace: Path, cases: dict[str, int], policies: list[str], budgets: list[float], metrics: dict[str, tuple]
) -> Path:
    """`cases`: by "SAMPLE@POINT", evaluation queries; `metrics`: by name, (better, dimensions, values), or
    (better, dimensions, values, further attributes)."""
    with h5py.File(trace) as recorded, h5py.File(path, "w") as file:
        attributes = {
            "format": "kvreplay-results",
            "model_id": recorded.attrs["model_id"],
            "options": "{}",
            "budget_kind": "fraction",
        }
        file.attrs.update(attributes)
        labels = {
            "case": list(cases),
            "layer": recorded.attrs["layers"],
            "q_head": np.arange(recorded.attrs["n_q_heads"]),
            "policy": policies,
            "budget": budgets,
        }
        for name, values in labels.items():
            file[name] = values
            file[name].make_scale(name)
        file["case_sample"] = [case.split("@")[0] for case in cases]
        file["case_point"] = [case.split("@")[1] for case in cases]
        file["n_queries"] = np.array(list(cases.values()), dtype=float)
        for name, (better, dimensions, values, *further) in metrics.items():
            file[name] = values
            file[name].attrs.update({"better": better, "formula": "ratio"} | (further[0] if further else {}))
            for axis, dimension in enumerate(dimensions):
                file[name].dims[axis].attach_scale(file[dimension])
    return path


def write_retained(path: Path, sets: dict[str, np.ndarray], head_axis: str = "kv") -> Path:
    """`sets`: by "NNNN/POINT/layers/LL/retained/POLICY", [n_budgets, n_heads, position]."""
    with h5py.File(path, "w") as file:
        file.attrs.update({"format": "kvreplay-retained", "options": "{}"})
        for name, kept in sets.items():
            dataset = file.create_dataset(f"samples/{name}", data=kept.astype(np.uint8))
            dataset.attrs.update({"head_axis": head_axis, "first_position": "0"})
    return path
