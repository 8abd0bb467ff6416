"""Whether a cheap measure orders the policies as the loss does: Kendall's tau by budget."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..common.errors import InputError, UsageError
from . import drawing
from .libraries import load
from .policies import policies_of
from .pooling import pool_curves
from .rank_agreement import average_ranks, deviation_goodness, goodness, kendall
from .results import Metric, find_metric, labels, metric_names, opened
from .selection import Chosen, choose, samples_of

if TYPE_CHECKING:
    import altair
    import xarray

# The measure nearest to the live model's loss comes first, as in the ranking of `kvreplay compare`.
TRUTHS = ("predicted_kl", "summed_projected_error", "absolute_projected_error", "output_error")
BASELINE = "attention_recall"


@dataclass(frozen=True)
class Reading:
    """How a metric ranks policies: by its values, or by their deviation from the full cache's."""

    metric: Metric
    deviation: bool = False

    @property
    def name(self) -> str:
        return f"deviation of {self.metric.name}" if self.deviation else self.metric.name


def agreement(
    ds: xarray.Dataset | str | os.PathLike,
    truth: str | None = None,
    surrogates: Sequence[str] | None = None,
    point: str | Sequence[str] | None = None,
    **selection: object,
) -> altair.LayerChart:
    """Kendall's tau-b between each surrogate and the truth over the policies that compete, by budget: 1 is the same
    order, 0 none of it, -1 the reverse. As `kvreplay compare --surrogates` computes it: sums are pooled within a
    sample, values within a part in a million are ties, and the taus of the samples are averaged. A budget at which the
    truth ties all policies, such as the full cache, has no tau. Of a measure that is not monotone there is a second
    line, "deviation of NAME": its distance from the full cache's value, whichever way.

    ds: results as xarray opens them, or their path
    truth: the loss; default: the first there is of predicted_kl, summed_projected_error, absolute_projected_error and
        output_error
    surrogates: default: all measures of information, and attention_recall
    point: the compression point. Default: the last of the results, and the subtitle says so
    selection: sample, case, layer, policy, head, as pool() takes them

    Returns an Altair chart. Throws UsageError for names that the results do not have, with the nearest, and for a truth
    held against itself; InputError for fewer than two policies that compete, or a file of another format.
    """
    alt = load("altair")
    selection["point"] = point
    with opened(ds) as dataset:
        chosen = choose(dataset, selection)
        true, readings = _readings(chosen.ds, truth, surrogates)
        taus = kendall_by_budget(chosen, true, readings, selection)
        budgets = labels(chosen.ds, "budget")
        tokens = chosen.ds.attrs.get("budget_kind") == "tokens"
        heading = drawing.title(f"Do they order policies as {true.name} does?", chosen, selection)
    rows = [
        {"x": budgets[b], "y": float(taus[s, b]), "surrogate": drawing.chart_text(reading.name), "style": s}
        for s, reading in enumerate(readings)
        for b in np.flatnonzero(~np.isnan(taus[s]))
    ]
    if not rows:
        raise InputError(f"{true.name} ties all policies at every budget: there is no order to find")
    x = drawing.share_axis(alt, "x", [row["x"] for row in rows], "tokens kept" if tokens else "budget", tokens)
    low = min(0.0, *(row["y"] for row in rows))
    y = drawing.value_axis(alt, "y", [low, 1.0], "Kendall's tau", is_logarithmic=False)
    layers = [alt.Chart(alt.Data(values=[{"y": 0}])).mark_rule(color=drawing.MUTED).encode(y=y)]
    ends = []
    for s, reading in enumerate(readings):
        points = [row for row in rows if row["style"] == s]
        if not points:
            continue
        colour = drawing.PALETTE[s % len(drawing.PALETTE)]
        dash = [[1, 0], [6, 3], [2, 2], [8, 3, 2, 3]][s % 4]
        tips = [alt.Tooltip("surrogate:N"), alt.Tooltip("x:Q", title="budget", format="~g")]
        layers.append(
            alt.Chart(alt.Data(values=points))
            .mark_line(color=colour, strokeDash=dash, point={"color": colour, "size": 18})
            .encode(x=x, y=y, tooltip=[*tips, alt.Tooltip("y:Q", title="tau", format=".3~g")])
        )
        last = max(points, key=lambda each: each["x"])
        ends.append({"x": last["x"], "y": last["y"], "text": last["surrogate"], "colour": colour})
    layers.append(drawing.end_labels(alt, ends, x, y, is_logarithmic=False))
    return drawing.framed(alt, layers, heading)


def kendall_by_budget(
    chosen: Chosen, truth: Metric, readings: Sequence[Reading], selection: dict[str, object]
) -> np.ndarray:
    """Means over samples, [n_readings, n_budgets]; NaN where no sample has an order to find."""
    contest = [p for p, policy in enumerate(policies_of(chosen)) if not policy.is_reference]
    if len(contest) < 2:
        raise InputError(
            f"surrogates order policies, and of the {chosen.ds.sizes['policy']} here {len(contest)} compete: replay "
            "two or more"
        )
    samples = list(samples_of(chosen.ds).values())
    taus = np.full((len(samples), len(readings), chosen.ds.sizes["budget"]), np.nan)
    for n, cases in enumerate(samples):
        sample = Chosen(chosen.ds.isel(case=cases), chosen.points, chosen.passed_over)
        true = _ranks(sample, Reading(truth), selection, contest)
        for s, reading in enumerate(readings):
            taus[n, s] = [kendall(*each) for each in zip(true, _ranks(sample, reading, selection, contest))]
    known = ~np.isnan(taus)
    with np.errstate(invalid="ignore"):
        return np.where(known, taus, 0).sum(axis=0) / known.sum(axis=0)


def _ranks(chosen: Chosen, reading: Reading, selection: dict[str, object], contest: list[int]) -> list[np.ndarray]:
    """[n_budgets] of [n_contestants]"""
    values = pool_curves(chosen, reading.metric, selection)[contest]
    good = deviation_goodness(values) if reading.deviation else goodness(values, reading.metric.higher_is_better)
    return [average_ranks(column) for column in good.T]


def _readings(ds: xarray.Dataset, truth: str | None, surrogates: Sequence[str] | None) -> tuple[Metric, list[Reading]]:
    names = metric_names(ds)
    if truth is None:
        truth = next((name for name in TRUTHS if name in names and ds[name].notnull().any()), None)
        if truth is None:
            raise UsageError(f"no truth in these results ({', '.join(TRUTHS)}): name one; they hold {', '.join(names)}")
    if surrogates is None:
        metrics = [find_metric(ds, name) for name in names]
        surrogates = [each.name for each in metrics if each.sum_units == "nats" and each.name != truth]
        surrogates += [BASELINE] if BASELINE in names and BASELINE != truth else []
    chosen = [find_metric(ds, name) for name in ([surrogates] if isinstance(surrogates, str) else surrogates)]
    if not chosen:
        raise UsageError(f"no surrogates in these results: name some; they hold {', '.join(names)}")
    if truth in [each.name for each in chosen]:
        raise UsageError(f"{truth}: nothing is held against itself")
    readings = []
    for each in chosen:
        readings.append(Reading(each))
        if not each.monotone:
            readings.append(Reading(each, deviation=True))
    return find_metric(ds, truth), readings
