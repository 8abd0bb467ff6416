"""The part of results that a figure is of."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..common.errors import InputError, UsageError
from ..common.nearest_name import unknown_name
from ..common.printable import printable
from .results import Metric, labels, left_out, points_of

if TYPE_CHECKING:
    import xarray

# What a selection may name, and the variable that holds its labels.
CASE_LABELS = {"case": "case", "point": "case_point", "sample": "case_sample"}
KEYWORDS = [*CASE_LABELS, "layer", "policy", "budget", "span", "other_policy", "head", "q_head", "kv_head"]


@dataclass(frozen=True)
class Chosen:
    ds: xarray.Dataset
    points: list[str]  # of its cases
    passed_over: list[str]  # points that the default left out; empty where the selection says which

    def point_text(self) -> str:
        """ "point prompt (the last of context, prompt)"."""
        text = f"{'point' if len(self.points) == 1 else 'points pooled:'} {', '.join(self.points)}"
        return text + (f" (the last of {', '.join([*self.passed_over, *self.points])})" if self.passed_over else "")


def choose(ds: xarray.Dataset, selection: Mapping[str, object], one_point: bool = True) -> Chosen:
    """Cases, layers and policies; then those that all policies were replayed on, as `kvreplay compare` does.

    one_point: where neither points nor cases are chosen, the last point is. Heads, parts and budgets stay: those of one
    metric are not those of another, and a budget says nothing of what exists. Throws UsageError for unknown keywords
    and names, with the nearest.
    """
    for keyword in selection:
        if keyword not in KEYWORDS:
            raise UsageError(unknown_name("selection", keyword, KEYWORDS))
    selection = {keyword: wanted for keyword, wanted in selection.items() if wanted is not None}
    points, passed_over = points_of(ds), []
    if one_point and len(points) > 1 and not {"point", "case"} & set(selection):
        selection, passed_over = {**selection, "point": points[-1]}, points[:-1]
    for keyword, variable in CASE_LABELS.items():
        if keyword in selection:
            ds = ds.isel(case=find(keyword, selection[keyword], labels(ds, variable)))
    for dimension in ("layer", "policy"):
        if dimension in selection:
            ds = ds.isel({dimension: find(dimension, selection[dimension], labels(ds, dimension))})
    ds = in_common(ds)
    return Chosen(ds, points_of(ds), passed_over)


def find(kind: str, wanted: object, known: list) -> list[int]:
    """Indices of one label or several, each once and in the order of the results. Throws UsageError."""
    names = [wanted] if is_scalar(wanted) else list(wanted)
    if not names:
        raise UsageError(f"no {kind} is chosen; known: {', '.join(map(str, known))}")
    for name in names:
        if name not in known:
            raise UsageError(unknown_name(kind, name, known))
    return [index for index, label in enumerate(known) if label in names]


def is_scalar(wanted: object) -> bool:
    return isinstance(wanted, str) or np.ndim(wanted) == 0


def in_common(ds: xarray.Dataset) -> xarray.Dataset:
    """Without policies that were replayed on no case and cases that some other policy lacks: figures of different work
    cannot be compared. A warning says what is taken away. Throws UsageError where nothing is left."""
    cases, layers, policies = (labels(ds, name) for name in ("case", "layer", "policy"))
    absent = np.zeros((len(cases), len(layers), len(policies)), dtype=bool)
    for each in left_out(ds):
        if each.get("case") in cases and each.get("policy") in policies:
            for index, layer in enumerate(layers):
                if each.get("layer") in (None, layer):
                    absent[cases.index(each["case"]), index, policies.index(each["policy"])] = True
    if not absent.any():
        return ds
    somewhere = ~absent.all(axis=(0, 1))
    complete = ~absent[:, :, somewhere].any(axis=(1, 2))
    if not somewhere.any():
        raise InputError("nothing was replayed: every policy was left out of every case")
    if not complete.any():
        raise UsageError(
            "no case was replayed with every policy, and figures pooled over different work cannot be compared; choose "
            "what all have by case=, layer= or policy="
        )
    for policy in np.array(policies, dtype=object)[~somewhere]:
        warnings.warn(printable(f"{policy} is not shown: it was replayed on no case"), stacklevel=2)
    if not complete.all():
        lacking = ", ".join(np.array(cases, dtype=object)[~complete])
        warnings.warn(
            printable(
                f"figures are of the {complete.sum()} of {len(cases)} cases that every policy was replayed on; not of "
                f"{lacking}. policy= chooses policies that have more in common"
            ),
            stacklevel=2,
        )
    return ds.isel(case=np.flatnonzero(complete), policy=np.flatnonzero(somewhere))


def samples_of(ds: xarray.Dataset) -> dict[tuple[str, str], list[int]]:
    """The cases of each recorded prompt, by recording and name: what is independent of each other."""
    names = labels(ds, "case_sample")
    recordings = labels(ds, "case_fingerprint") if "case_fingerprint" in ds.variables else [""] * len(names)
    samples: dict[tuple[str, str], list[int]] = {}
    for case, key in enumerate(zip(recordings, names)):
        samples.setdefault(key, []).append(case)
    return samples


def heads_of(metric: Metric, ds: xarray.Dataset, selection: Mapping[str, object]) -> dict[str, list[int]]:
    """Indices of the heads and parts that are chosen of a metric, by dimension. Throws UsageError for those that the
    metric does not have."""
    if metric.of_model and selection.get("layer") is not None:
        raise UsageError(f"{metric.name} is of layers {metric.of_layers} together: none of them can be chosen")
    found = {}
    for keyword in ("head", "q_head", "kv_head", "span", "other_policy"):
        wanted = selection.get(keyword)
        if wanted is None:
            continue
        dimension = metric.head if keyword == "head" else keyword
        if dimension not in metric.dims:
            raise UsageError(f"{metric.name} does not have the dimension '{keyword}': it has {', '.join(metric.dims)}")
        found[dimension] = find(keyword, wanted, labels(ds, dimension))
    return found


def nearest_budget(ds: xarray.Dataset, wanted: float) -> int:
    """Index of the budget nearest to `wanted`, the first among equals. Where budgets are tokens, a number below 1 is a
    share of the tokens up for eviction."""
    budgets = np.array(labels(ds, "budget"))
    shares = ds.attrs.get("budget_kind") == "tokens" and wanted < 1
    return int(np.argmin(np.abs((nominal_kept_fraction(ds) if shares else budgets) - wanted)))


def nominal_kept_fraction(ds: xarray.Dataset) -> np.ndarray:
    """The share that each budget asks for, [n_budgets]."""
    budgets = np.array(labels(ds, "budget"), dtype=float)
    if ds.attrs.get("budget_kind") != "tokens":
        return budgets
    if "n_candidates" not in ds.variables:
        return np.full(len(budgets), np.nan)
    candidates = ds["n_candidates"].values[~np.isnan(ds["n_candidates"].values)]
    if candidates.sum() == 0:
        return np.full(len(budgets), np.nan)
    return np.array([np.minimum(budget, candidates).sum() / candidates.sum() for budget in budgets])
