"""The policies that compete, best first, as a table with bars."""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..common.errors import UsageError
from ..common.printable import printable
from . import drawing
from .curve_figures import area, area_range, make_curve, smallest_cache
from .libraries import load
from .policies import policies_of
from .pooling import kept_fraction, pool_curves
from .results import find_metric, labels, opened
from .selection import choose, nominal_kept_fraction

if TYPE_CHECKING:
    import pandas
    import xarray
    from pandas.io.formats.style import Styler

SHOWN_SHARES = (0.05, 0.1, 0.25, 0.5)
BAR = "#c9dcee"


def ranking(
    ds: xarray.Dataset | str | os.PathLike,
    metric: str,
    bound: float | None = None,
    point: str | Sequence[str] | None = None,
    **selection: object,
) -> Styler:
    """The policies that compete, best first, then the references without a rank, in italics.

    They are ordered by area, as `kvreplay compare` does: the mean height of the curve over the shares kept that all
    curves have in common. With one budget there is no area, and the value at that budget orders them.

    ds: results as xarray opens them, or their path
    metric: such as "output_error"; of a metric in parts say which, `span="needle"`
    bound: in the metric's unit. Adds the smallest share of the cache that holds it (at most the bound, or at least
        where more is better), interpolated between budgets; "≤" where the smallest budget does already, "–" where none
        does
    point: the compression point. Default: the last of the results, and the caption says so
    selection: sample, case, layer, policy, head, span, as pool() takes them

    Returns pandas' Styler; its `data` is the DataFrame, index policy, columns rank, area, smallest cache, at smallest
    (hidden) and the values at the budgets nearest 5, 10, 25 and 50 %. NaN: not known, or held by no budget.

    Throws UsageError for names that the results do not have, with the nearest, and for metrics in which policies do not
    compete; InputError for a file of another format.
    """
    pandas = load("pandas")
    load("jinja2")  # pandas' Styler has a longer message
    selection["point"] = point
    with opened(ds) as dataset:
        known = find_metric(dataset, metric)
        if not known.is_contest:
            raise UsageError(f"{metric}: policies do not compete in it")
        chosen = choose(dataset, selection)
        values, kept = pool_curves(chosen, known, selection), kept_fraction(chosen, known, selection)
        policies = policies_of(chosen)
        budgets, nominal = labels(chosen.ds, "budget"), nominal_kept_fraction(chosen.ds)
        subject = drawing.subject(chosen, selection)
    lines = [make_curve(*each) for each in zip(kept, values)]
    ends = area_range(lines, policies)
    table = {"area": [area(line, ends) for line in lines]}
    if bound is not None:
        found = [smallest_cache(line, known.higher_is_better, bound) for line in lines]
        table["smallest cache"], table["at smallest"] = zip(*found)
    shown = range(len(budgets)) if np.isnan(nominal).all() else _nearest(nominal)
    columns = [f"at {drawing.budget_text(chosen, budgets[b])}" for b in shown]
    table |= {name: values[:, b] for name, b in zip(columns, shown)}
    frame = pandas.DataFrame(table, index=pandas.Index([policy.name for policy in policies], name="policy"))
    by = "area" if frame["area"].notna().any() else columns[0]
    losses = drawing.as_loss(known, frame[by].to_numpy())
    is_ranked = ~(np.array([policy.is_reference for policy in policies]) | np.isnan(losses))
    order = np.lexsort((losses, ~is_ranked, [policy.is_reference for policy in policies]))  # stable; the last key first
    frame.insert(0, "rank", np.where(is_ranked, 1.0, np.nan))
    frame = frame.iloc[order]
    frame["rank"] = frame["rank"].cumsum()
    references = [policies[p].name for p in order if policies[p].is_reference]
    name = drawing.metric_title(known, selection)
    caption = f"{name} ({'higher' if known.higher_is_better else 'lower'} is better), {chosen.point_text()}; {subject}"
    if bound is not None:
        caption += f"; smallest cache for {'at least' if known.higher_is_better else 'at most'} {bound:g}"
    return _styled(frame, references, caption)


def _nearest(nominal: np.ndarray) -> list[int]:
    return sorted({int(np.nanargmin(np.abs(nominal - share))) for share in SHOWN_SHARES}, key=lambda b: nominal[b])


def _styled(frame: pandas.DataFrame, references: list[str], caption: str) -> Styler:
    """Names of files stand in the index and the caption, and are escaped there."""
    plain = [name for name in frame.columns if name not in ("rank", "smallest cache", "at smallest")]
    styler = frame.style.format(_number, subset=plain)
    styler = styler.format(lambda value: "" if np.isnan(value) else f"{value:.0f}", subset=["rank"])
    styler = styler.bar(subset=["area"], color=BAR, vmin=0, width=60)
    if "smallest cache" in frame:
        at_smallest = list(frame.index[frame["at smallest"]])
        styler = styler.format(_share, subset=["smallest cache"])
        styler = styler.format(lambda value: f"≤ {_share(value)}", subset=(at_smallest, ["smallest cache"]))
        styler = styler.bar(subset=["smallest cache"], color=BAR, vmin=0, vmax=1, width=60)
        styler = styler.hide(["at smallest"], axis="columns")
    styler = styler.set_properties(subset=(references, list(frame.columns)), **{"font-style": "italic"})
    styler = styler.set_table_styles(
        [
            {"selector": "th", "props": "white-space: nowrap; text-align: right"},
            {"selector": "th.row_heading, th.index_name", "props": "text-align: left; font-weight: normal"},
            {"selector": "td", "props": "white-space: nowrap; text-align: right; font-variant-numeric: tabular-nums"},
            {"selector": "caption", "props": "text-align: left"},
        ]
    )
    styler = styler.format_index(lambda name: html.escape(printable(str(name))), axis="index")
    return styler.set_caption(html.escape(printable(caption)))


def _number(value: float) -> str:
    """Three significant digits, zeros at the end as well, so that they stand below each other."""
    if np.isnan(value):
        return "–"
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:#.3g}".rstrip(".")


def _share(value: float) -> str:
    return "–" if np.isnan(value) else f"{100 * value:.3g} %"
