"""Metrics pooled over heads, layers and cases: sums are added, and the formula is applied once at the end."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from ..common.errors import UsageError
from ..common.nearest_name import unknown_name
from .results import KEPT_FRACTION, Metric, find_metric, labels, metric_names, opened
from .selection import Chosen, choose, heads_of, is_scalar, nearest_budget, nominal_kept_fraction

if TYPE_CHECKING:
    import xarray

POOLED = ("case", "layer", "q_head", "kv_head")


def pool(
    ds: xarray.Dataset | str | os.PathLike,
    metric: str,
    over: str | Iterable[str] | None = None,
    **selection: object,
) -> xarray.DataArray:
    """A metric pooled as `kvreplay compare` pools it: numerators and denominators are added, then divided.

    `.mean()` of a metric is another figure, and mostly a wrong one: the mean of ratios is not the ratio of sums. Of
    heads that lose 1 of 10 and 90 of 100, the mean loses (0.1 + 0.9) / 2 = 0.5, the cache 91 / 110 = 0.83. And a root
    of a mean is not the mean of roots: on the shipped trace traces/examples/smollm2-needle.h5, output_error of snapkv
    at a budget of 0.1 after the prompt is 0.312; `.mean()` says 0.217.

    ds: results as xarray opens them, or their path
    metric: as `kvreplay compare` names it, such as "output_error"
    over: dimensions that are pooled away: "case", "layer", "head" (or "q_head", "kv_head"); default: all of them. Those
        that the metric does not have are passed over: all layers stand together in a metric of the whole model
    selection: point, sample, case, layer, policy, head, span, other_policy: a label, or a list of labels; budget: the
        nearest. As in xarray a single label takes its dimension away. Compression points are different tasks: where
        cases are pooled and neither `point` nor `case` is given, the last point of the results is taken; several are
        pooled if they are named, `point=["context", "prompt"]`

    Returns the values in the metric's unit, [the dimensions that are left, in the order of the metric], for a curve
    [policy, budget]. NaN: nothing was replayed there, or the policy lacks a case, layer or head that others have, so
    that its value would stand for other work. The attribute `point` says which points are in it.
    Cases that some policy was not replayed on (attribute `left_out` of the results) are left out, with a warning.

    Throws UsageError for names that the results do not have, with the nearest; InputError for a file of another format.
    """
    with opened(ds) as dataset:
        known = find_metric(dataset, metric)
        dims = pooled_dimensions(known, over)
        chosen = choose(dataset, selection, one_point="case" in dims)
        pooled = pool_chosen(chosen, known, dims, selection)
        if selection.get("budget") is not None:
            wanted = selection["budget"]
            indices = {nearest_budget(chosen.ds, each) for each in np.atleast_1d(np.asarray(wanted, dtype=float))}
            pooled = pooled.isel(budget=sorted(indices))
        # A part or a layer that is named alone is no dimension any more.
        for keyword, wanted in selection.items():
            dimension = known.head if keyword == "head" else keyword
            if wanted is not None and is_scalar(wanted) and pooled.sizes.get(dimension) == 1:
                pooled = pooled.isel({dimension: 0})
        return pooled


def pooled_dimensions(metric: Metric, over: str | Iterable[str] | None) -> list[str]:
    """Those of the metric that `over` names; all where it is None. Throws UsageError for others than POOLED."""
    if over is None:
        return [each for each in POOLED if each in metric.dims]
    names = [over] if isinstance(over, str) else list(over)
    for name in names:
        if name not in (*POOLED, "head"):
            raise UsageError(unknown_name("dimension to pool over", name, ["case", "layer", "head"]))
    names = [metric.head if name == "head" else name for name in names]
    return [each for each in POOLED if each in metric.dims and each in names]


def pool_chosen(chosen: Chosen, metric: Metric, over: list[str], selection: Mapping[str, object]) -> xarray.DataArray:
    """The pooled metric of what is chosen; of `selection` only heads and parts are looked at.

    A unit is a case, layer, head and part. One that holds no policy at any budget does not exist (a layer without W_O,
    say) and does not count. In one that exists every policy must have a value."""
    ds = chosen.ds
    heads = heads_of(metric, ds, selection)
    numerators, denominators = (
        ds[name].isel({dimension: at for dimension, at in heads.items() if dimension in ds[name].dims}).compute()
        for name in (metric.numerator, metric.denominator)
    )
    known = numerators.notnull()
    exists = known.any(["policy", "budget"])
    numerator = numerators.fillna(0).sum(over)
    # A denominator of fewer dimensions, such as n_queries, counts once for each unit.
    denominator = denominators.where(exists, 0).sum(over, skipna=False)
    is_whole = (known | ~exists).all(over) & exists.any(over)
    values = metric_value(metric.formula, numerator, denominator).where(is_whole)
    values = values.transpose(*(each for each in metric.dims if each not in over)).rename(metric.name)
    about = ds[metric.name].attrs
    values.attrs = {name: about[name] for name in ("long_name", "units", "better", "formula") if name in about}
    values.attrs["point"] = ", ".join(chosen.points)
    return values


def metric_value(formula: str, numerator: xarray.DataArray, denominator: xarray.DataArray) -> xarray.DataArray:
    """The values that two sums stand for; NaN where the denominator of a ratio is 0."""
    if formula == "sum":
        return numerator
    below = denominator.where(denominator != 0)
    if formula == "ratio":
        return numerator / below
    with np.errstate(invalid="ignore"):
        if formula == "sqrt_over":
            return numerator**0.5 / below
        # Of outputs that are zero, nothing can be lost.
        return ((numerator / below) ** 0.5).where((numerator != 0) | (denominator != 0), 0)


def pool_curves(chosen: Chosen, metric: Metric, selection: Mapping[str, object]) -> np.ndarray:
    """The metric's values, [n_policies, n_budgets]. Throws UsageError for a metric in parts of which none is chosen."""
    values = pool_chosen(chosen, metric, pooled_dimensions(metric, None), selection)
    return one_part(values, metric).transpose("policy", "budget").values


def one_part(values: xarray.DataArray, metric: Metric) -> xarray.DataArray:
    """Without the dimension of the parts. Throws UsageError where there are several."""
    if metric.part is None:
        return values
    if values.sizes[metric.part] != 1:
        names = ", ".join(map(str, values[metric.part].values))
        raise UsageError(f"{metric.name} has a value for each {metric.part}: choose one, {metric.part}= one of {names}")
    return values.isel({metric.part: 0})


def kept_fraction(chosen: Chosen, metric: Metric, selection: Mapping[str, object]) -> np.ndarray:
    """What was really kept where the metric was measured, [n_policies, n_budgets]; what the budgets ask for where the
    results do not say. Query heads stand for the KV head that they read."""
    ds = chosen.ds
    if KEPT_FRACTION not in metric_names(ds):
        return np.tile(nominal_kept_fraction(ds), (ds.sizes["policy"], 1))
    kept = find_metric(ds, KEPT_FRACTION)
    heads = heads_of(metric, ds, selection).get(metric.head, [])
    if heads and kept.head is not None:
        if metric.head == "q_head":
            heads = sorted({head * ds.sizes["kv_head"] // ds.sizes["q_head"] for head in heads})
        selection = {"head": [labels(ds, kept.head)[head] for head in heads]}
    else:
        selection = {}
    pooled = pool_chosen(chosen, kept, pooled_dimensions(kept, None), selection)
    return pooled.transpose("policy", "budget").values
