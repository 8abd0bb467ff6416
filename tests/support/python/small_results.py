"""Results small enough to work out by hand, and those of the shipped trace with the figures of `kvreplay compare`."""

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray

from tests.support.python.paths import ROOT

PROGRAM = os.environ.get("KVREPLAY_PROGRAM")
TRACE = ROOT / "traces/examples/smollm2-needle.h5"
POLICIES = [
    "snapkv",
    "ada-snapkv",
    "h2o",
    "streaming-llm",
    "capkv",
    "random",
    "full",
    "simlayerkv",
    "duoattention",
    "oracle",
]


@dataclass
class Sums:
    """A metric: its numerators along `dims`, and its denominators along `below`."""

    numerators: np.ndarray
    denominators: np.ndarray
    dims: Sequence[str]
    below: Sequence[str]
    formula: str = "ratio"
    better: str = "lower"
    monotone: int = 1


def small_results(
    metrics: dict[str, Sums],
    cases: Sequence[str] = ("a@prompt",),
    layers: Sequence[int] = (0,),
    policies: Sequence[str] = ("snapkv",),
    budgets: Sequence[float] = (0.5,),
    n_heads: int = 1,
    **attributes: object,
) -> xarray.Dataset:
    """Laid out as docs/formats/results.md says; the policy `oracle` is one."""
    split = [case.split("@") for case in cases]
    described = {
        "case": list(cases),
        "layer": list(layers),
        "policy": list(policies),
        "budget": np.array(budgets, dtype=float),
        "q_head": np.arange(n_heads),
        "case_sample": ("case", [sample for sample, _ in split]),
        "case_point": ("case", [point for _, point in split]),
        "case_fingerprint": ("case", ["0" for _ in split]),
    }
    variables = {
        "n_queries": ("case", np.full(len(cases), 10.0)),
        "policy_is_oracle": ("policy", [float(policy == "oracle") for policy in policies]),
    }
    for name, sums in metrics.items():
        variables[f"{name}_numerator"] = (sums.dims, np.asarray(sums.numerators, dtype=float))
        variables[f"{name}_denominator"] = (sums.below, np.asarray(sums.denominators, dtype=float))
        about = {"formula": sums.formula, "better": sums.better, "units": "1", "monotone": sums.monotone}
        about |= {"numerator": f"{name}_numerator", "denominator": f"{name}_denominator"}
        if "layer" not in sums.dims:
            about["of_layers"] = ",".join(map(str, layers))
        variables[name] = (sums.dims, np.zeros(np.shape(sums.numerators)), about)
    attributes = {"format": "kvreplay-results", "format_version": "1.4", "model_id": "small"} | attributes
    return xarray.Dataset(variables, described, {"budget_kind": "fraction"} | attributes)


def replay(folder: Path, name: str, *options: str, trace: Path = TRACE) -> Path:
    """The results of a replay, in a file of that name."""
    run("replay", trace, "-o", folder / name, *options)
    return folder / name


def compare(results: Path, *options: str) -> dict:
    return json.loads(run("compare", results, "--json", "-", *options))


def run(*arguments: object) -> str:
    return subprocess.run([PROGRAM, *map(str, arguments)], check=True, capture_output=True, text=True).stdout


def rows_of(chart: dict) -> list[dict]:
    """What a chart draws, of all its layers."""
    rows = list(chart.get("data", {}).get("values", ()))
    for layer in chart.get("layer", ()):
        rows += rows_of(layer)
    return rows
