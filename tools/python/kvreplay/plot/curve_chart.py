"""The loss of every policy against what it really keeps."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from ..common.errors import InputError, UsageError
from ..common.nearest_name import unknown_name
from . import drawing
from .curve_figures import area, area_range, make_curve
from .libraries import load
from .policies import Policy, policies_of
from .pooling import kept_fraction, pool_curves
from .results import Metric, find_metric, labels, opened
from .selection import choose

if TYPE_CHECKING:
    import altair
    import xarray

N_HIGHLIGHTED = 3  # of the best, where nobody says which


@dataclass(frozen=True)
class Style:
    colour: str
    width: float
    dash: tuple[int, ...] = ()
    is_labelled: bool = True


def curves(
    ds: xarray.Dataset | str | os.PathLike,
    metric: str,
    point: str | Sequence[str] | None = None,
    highlight: Sequence[str] | None = None,
    **selection: object,
) -> altair.LayerChart:
    """A line for each policy: the metric, pooled, against the share of the cache that was really kept.

    Both axes are logarithmic. Of a metric where more is better the missing part is drawn, 1 - metric, so that down is
    good in every chart. Losses of 0, such as that of the whole cache, have no place on a logarithmic axis and are left
    out; a metric with negative values has a linear one.

    ds: results as xarray opens them, or their path
    metric: such as "output_error"; of a metric in parts say which, `span="needle"`
    point: the compression point. Default: the last of the results, and the subtitle says so
    highlight: up to six policies in colour, labelled at the line's end; default: the three of least area. The others
        are grey; the oracles solid black, `random` dotted, other references (policies that keep everything, or more
        than the budget) dashed
    selection: sample, case, layer, policy, head, span, as pool() takes them

    Returns an Altair chart. Throws UsageError for names that the results do not have, with the nearest, InputError for
    a file of another format or results without a value to draw.
    """
    alt = load("altair")
    selection["point"] = point
    with opened(ds) as dataset:
        known = find_metric(dataset, metric)
        chosen = choose(dataset, selection)
        values, kept = pool_curves(chosen, known, selection), kept_fraction(chosen, known, selection)
        policies = policies_of(chosen)
        budgets = labels(chosen.ds, "budget")
        heading = drawing.title(drawing.metric_title(known, selection), chosen, selection)
    if highlight is None:
        highlight = _best(policies, kept, values, known)
    styles = _styles(policies, highlight)
    losses = drawing.as_loss(known, values)
    is_logarithmic = not (losses < -drawing.ROUNDING).any()
    drawn = ~np.isnan(kept) & ~np.isnan(losses) & (kept > 0)
    if is_logarithmic:
        # What is left of 1 - 1 after rounding is no loss.
        drawn &= losses > (drawing.ROUNDING if known.higher_is_better else 0)
    if not drawn.any():
        raise InputError(f"{metric}: no policy has a value to draw at {chosen.point_text()}")
    rows = [
        [
            {"x": kept[p, b], "y": losses[p, b], "value": values[p, b], "budget": budgets[b], "policy": policy.name}
            for b in np.flatnonzero(drawn[p])
        ]
        for p, policy in enumerate(policies)
    ]
    x = drawing.share_axis(alt, "x", kept[drawn], "share of the cache kept")
    words = drawing.loss_title(known)
    y = drawing.value_axis(alt, "y", losses[drawn], words, is_logarithmic)
    layers = _lines(alt, policies, styles, rows, x, y)
    ends = [
        {
            **{name: max(points, key=lambda each: each["x"])[name] for name in ("x", "y")},
            "text": drawing.chart_text(policy.name),
            "colour": style.colour,
        }
        for policy, style, points in zip(policies, styles, rows)
        if points and style.is_labelled
    ]
    if ends:
        layers.append(drawing.end_labels(alt, ends, x, y, is_logarithmic))
    return drawing.framed(alt, layers, heading)


def _best(policies: list[Policy], kept: np.ndarray, values: np.ndarray, metric: Metric) -> list[str]:
    """The contestants of least area, or of least loss where there is one budget; without `random`, which is labelled
    whatever it loses."""
    lines = [make_curve(*each) for each in zip(kept, values)]
    ends = area_range(lines, policies)
    scores = np.array([area(line, ends) for line in lines])
    if np.isnan(scores).all():
        scores = values[:, 0]
    losses = drawing.as_loss(metric, scores)
    best = [policies[p] for p in np.argsort(losses, kind="stable") if not np.isnan(losses[p])]
    return [each.name for each in best if not (each.is_reference or _is_random(each))][:N_HIGHLIGHTED]


def _is_random(policy: Policy) -> bool:
    return policy.name.split(":")[0] == "random"


def _styles(policies: list[Policy], highlight: Sequence[str]) -> list[Style]:
    """Of each policy. Throws UsageError for highlighted ones that are not there, or too many."""
    names = [policy.name for policy in policies]
    wanted = list(dict.fromkeys([highlight] if isinstance(highlight, str) else highlight))
    for name in wanted:
        if name not in names:
            raise UsageError(unknown_name("policy", name, names))
    if len(wanted) > len(drawing.PALETTE):
        raise UsageError(
            f"highlight: {len(wanted)} policies, but only {len(drawing.PALETTE)} colours can be told apart"
        )
    return [_style(policy, wanted) for policy in policies]


def _style(policy: Policy, highlighted: list[str]) -> Style:
    dash = (2, 3) if _is_random(policy) else (6, 4) if policy.is_reference and not policy.oracle else ()
    if policy.name in highlighted:
        return Style(drawing.PALETTE[highlighted.index(policy.name)], 2.4, dash)
    if policy.oracle:
        return Style(drawing.INK, 1.6)
    if _is_random(policy) or policy.is_reference:
        return Style(drawing.MUTED, 1.2, dash)
    return Style(drawing.CONTEXT, 1, is_labelled=False)


def _lines(
    alt: ModuleType,
    policies: list[Policy],
    styles: list[Style],
    rows: list[list[dict[str, object]]],
    x: altair.X,
    y: altair.Y,
) -> list[altair.Chart]:
    """One layer for each width and dash: the context first, the highlighted last."""
    tips = [
        alt.Tooltip("policy:N"),
        alt.Tooltip("budget:Q", format="~g"),
        alt.Tooltip("x:Q", title="kept", format=".3~%"),
        alt.Tooltip("value:Q", format=".3~g"),
    ]
    layers = []
    for width, dash in sorted({(style.width, style.dash) for style in styles}):
        values = [
            {**row, "policy": drawing.chart_text(policy.name), "colour": style.colour}
            for policy, style, points in zip(policies, styles, rows)
            if (style.width, style.dash) == (width, dash)
            for row in points
        ]
        if not values:
            continue
        # A policy with one budget is a point.
        mark = {"strokeWidth": width, "point": {"size": 16 * width, "filled": True} if _has_single(rows) else False}
        if dash:
            mark["strokeDash"] = list(dash)
        layers.append(
            alt.Chart(alt.Data(values=values))
            .mark_line(**mark)
            .encode(x=x, y=y, detail="policy:N", color=alt.Color("colour:N", scale=None), tooltip=tips)
        )
    return layers


def _has_single(rows: list[list[dict[str, object]]]) -> bool:
    return any(len(points) == 1 for points in rows)
