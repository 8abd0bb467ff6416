"""Where a policy loses: layer by layer and head by head, by itself or against another."""

from __future__ import annotations

import os
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from ..common.errors import InputError, UsageError
from ..common.nearest_name import unknown_name
from . import drawing
from .libraries import load
from .pooling import one_part, pool_chosen
from .results import find_metric, labels, opened
from .selection import choose, nearest_budget

if TYPE_CHECKING:
    import altair
    import xarray

FEW_HEADS, FEW_LAYERS = 16, 40  # whose cells have room for a number
MOST_RATIO = 4.0  # as a binary logarithm: what differs by more has the colour of 16 times


def heatmap(
    ds: xarray.Dataset | str | os.PathLike,
    policy: str,
    against: str | None = None,
    metric: str = "output_error",
    budget: float = 0.1,
    point: str | Sequence[str] | None = None,
    **selection: object,
) -> altair.LayerChart:
    """A cell for each layer and head: what `policy` loses there, pooled over the cases, or with `against` the binary
    logarithm of its loss over that policy's: -1 (blue) is half of its loss, 1 (orange) twice. The colours end at 16
    times.

    Of a metric where more is better the loss is the missing part. Cells are grey where nothing was measured, and where
    one of two losses is 0. A metric of whole layers has one column.

    ds: results as xarray opens them, or their path
    budget: the nearest is taken, and the title says which
    point: the compression point. Default: the last of the results, and the subtitle says so
    selection: sample, case, layer, head, span, as pool() takes them

    Returns an Altair chart. Throws UsageError for names that the results do not have, with the nearest, and for a
    metric of the whole model, which has no layers; InputError for a file of another format.
    """
    alt = load("altair")
    selection["point"] = point
    with opened(ds) as dataset:
        known = find_metric(dataset, metric)
        if known.of_model:
            raise UsageError(f"{metric} is of all layers together: there are no layers to tell apart")
        chosen = choose(dataset, selection)
        names = labels(chosen.ds, "policy")
        for name in (policy, against):
            if name is not None and name not in names:
                raise UsageError(unknown_name("policy", name, names))
        values = one_part(pool_chosen(chosen, known, ["case"], selection), known)
        values = values.isel(budget=nearest_budget(chosen.ds, budget))
        at = drawing.budget_text(chosen, float(values["budget"]))
        words = f"{policy} against {against}" if against is not None else policy
        heading = drawing.title(f"{drawing.metric_title(known, selection)} of {words} at {at}", chosen, selection)
    heads = values[known.head].values.tolist() if known.head else ["all"]
    losses = [
        drawing.as_loss(known, values.sel(policy=name).transpose("layer", ...).values.reshape(-1, len(heads)))
        for name in (policy, against)
        if name is not None
    ]
    cells = _cells(losses, values["layer"].values.tolist(), heads)
    if all(cell["shown"] is None for cell in cells):
        raise InputError(f"{metric}: {words} has no value to draw at {at}, {chosen.point_text()}")
    legend = drawing.loss_title(known) if against is None else "log2 of the ratio"
    shown = np.array([cell["shown"] for cell in cells if cell["shown"] is not None])
    colour = _ratio_colour(alt, shown, legend) if against is not None else _loss_colour(alt, shown, legend)
    size = {"width": max(60, 34 * len(heads)), "height": max(60, min(24, 720 // len(losses[0])) * len(losses[0]))}
    x = alt.X("head:O", title=known.head or "heads", axis=alt.Axis(labelAngle=0, titleColor=drawing.MUTED))
    y = alt.Y("layer:O", axis=alt.Axis(titleColor=drawing.MUTED))
    tips = [alt.Tooltip("layer:O"), alt.Tooltip("head:O")]
    tips += [alt.Tooltip("loss:Q", title=drawing.loss_title(known), format=".3~g")]
    if against is not None:
        tips += [alt.Tooltip("other:Q", title=drawing.chart_text(against), format=".3~g")]
        tips += [alt.Tooltip("shown:Q", title=legend, format=".3~g")]
    layers = [alt.Chart(alt.Data(values=cells)).mark_rect(color=drawing.NOTHING).encode(x=x, y=y, tooltip=tips)]
    known_cells = alt.Chart(alt.Data(values=[cell for cell in cells if cell["shown"] is not None]))
    layers.append(known_cells.mark_rect().encode(x=x, y=y, color=colour, tooltip=tips))
    if len(heads) <= FEW_HEADS and len(losses[0]) <= FEW_LAYERS:
        ink = alt.Color("ink:N", scale=None)
        layers.append(known_cells.mark_text(fontSize=9).encode(x=x, y=y, text="text:N", color=ink))
    return alt.layer(*layers).resolve_scale(color="independent").properties(title=heading, **size)


def _cells(losses: list[np.ndarray], layers: list[int], heads: list) -> list[dict[str, object]]:
    """losses: of the policy, and of the other if there is one, [n_layers, n_heads] each."""
    if len(losses) == 1:
        shown = losses[0].copy()
    else:
        with np.errstate(divide="ignore", invalid="ignore"):
            shown = np.log2(losses[0] / losses[1])
    shown[~np.isfinite(shown)] = np.nan
    darkness = _darkness(shown, is_ratio=len(losses) > 1)
    return [
        {
            "layer": layer,
            "head": head,
            "loss": _or_none(losses[0][i, j]),
            "other": _or_none(losses[-1][i, j]),
            "shown": _or_none(shown[i, j]),
            "text": _text(shown[i, j], is_ratio=len(losses) > 1),
            "ink": "#ffffff" if darkness[i, j] > 0.55 else drawing.INK,
        }
        for i, layer in enumerate(layers)
        for j, head in enumerate(heads)
    ]


def _darkness(shown: np.ndarray, is_ratio: bool) -> np.ndarray:
    """From 0, the light end of the ramp or the middle of two, to 1."""
    known = shown[~np.isnan(shown)]
    if len(known) == 0:
        return np.zeros_like(shown)
    if is_ratio:
        return np.minimum(np.abs(shown) / _most_ratio(known), 1)
    low, high = _loss_domain(known)
    return np.log(np.maximum(shown, low) / low) / np.log(high / low) if low > 0 else (shown - low) / (high - low)


def _most_ratio(shown: np.ndarray) -> float:
    """The end of both ramps: one head without any loss would take the colour of all others."""
    return min(float(np.abs(shown).max()) or 1.0, MOST_RATIO)


def _loss_domain(shown: np.ndarray) -> tuple[float, float]:
    """From the least to the greatest loss: of the positive ones unless some are negative."""
    least = shown.min() if shown.min() < 0 or shown.max() <= 0 else shown[shown > 0].min()
    return float(least), float(shown.max() if shown.max() > least else least + (abs(least) or 1))


def _loss_colour(alt: ModuleType, shown: np.ndarray, words: str) -> altair.Color:
    low, high = _loss_domain(shown)
    scale = alt.Scale(
        domain=[low, high], range=list(drawing.LOSS_RAMP), clamp=True, type="log" if low > 0 else "linear"
    )
    ticks = drawing.log_ticks(low, high) if low > 0 else []
    legend = alt.Legend(format="~g", **({"values": ticks} if ticks else {}))
    return alt.Color("shown:Q", title=words, scale=scale, legend=legend)


def _ratio_colour(alt: ModuleType, shown: np.ndarray, words: str) -> altair.Color:
    most = _most_ratio(shown)
    domain = [-most, -most / 2, 0, most / 2, most]
    scale = alt.Scale(domain=domain, range=list(drawing.BETTER_RAMP), clamp=True, interpolate="rgb")
    return alt.Color("shown:Q", title=words, scale=scale)


def _text(shown: float, is_ratio: bool) -> str:
    if not is_ratio:
        return f"{shown:.2g}"
    return "0" if abs(shown) < 0.05 else f"{shown:+.1f}"


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
