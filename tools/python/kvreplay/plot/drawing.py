"""What the charts have in common: colours, words, axes, and labels at the ends of lines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from ..common.printable import printable
from .libraries import load
from .results import Metric, labels
from .selection import Chosen, samples_of

if TYPE_CHECKING:
    import altair

INK, MUTED, CONTEXT, NOTHING = "#16202b", "#566373", "#aab4c0", "#dfe4ea"
# Apart from each other for colour-blind readers, too, and with 4.5 : 1 against white.
PALETTE = ("#2266dd", "#aa6600", "#115522", "#dd2277", "#880088", "#7700ff")
LOSS_RAMP = ("#f4f7fb", "#c9dcee", "#8ab6db", "#4787bf", "#1c5a98", "#0a2f5e")
BETTER_RAMP = ("#0b4f8c", "#6ba3d0", "#eef0f2", "#e0a46c", "#a34700")
HEIGHT, WIDTH = 320, 460
LABEL_GAP = 12  # pixels between labels that would lie on each other
ROUNDING = 1e-6  # a share that lacks no more than this lacks nothing


def chart_text(text: str) -> str:
    """A name of a file on its way into a chart: without control characters, and without the angle brackets that would
    end the script in which notebooks and saved pages hold a chart."""
    return printable(text).replace("<", "‹").replace(">", "›")


def as_loss(metric: Metric, values: np.ndarray) -> np.ndarray:
    """Of measures where more is better what is missing, so that down is good in every chart."""
    return 1 - values if metric.higher_is_better else values


def loss_title(metric: Metric) -> str:
    name = chart_text(f"1 - {metric.name}" if metric.higher_is_better else metric.name)
    return name if metric.units in ("1", "") else f"{name} [{chart_text(metric.units)}]"


def metric_title(metric: Metric, selection: Mapping[str, object]) -> str:
    """ "needle_recall[needle]", or the metric's name."""
    part = selection.get(metric.part) if metric.part else None
    return metric.name if part is None else f"{metric.name}[{', '.join(np.atleast_1d(part))}]"


def subject(chosen: Chosen, selection: Mapping[str, object]) -> str:
    """What figures are of: "MODEL, sample needle, layers 2, 11, head 4"."""
    samples, layers = samples_of(chosen.ds), labels(chosen.ds, "layer")
    about = [
        str(chosen.ds.attrs.get("model_id", "")),
        f"sample {next(iter(samples))[1]}" if len(samples) == 1 else f"{len(samples)} samples",
        _listed("layer", layers) if len(layers) <= 6 else f"{len(layers)} layers",
    ]
    for head in ("head", "q_head", "kv_head"):
        if selection.get(head) is not None:
            about.append(_listed(head, np.atleast_1d(selection[head])))
    return ", ".join(filter(None, about))


def title(text: str, chosen: Chosen, selection: Mapping[str, object]) -> altair.TitleParams:
    """The title, and below it what the figures are of."""
    subtitle = [chart_text(chosen.point_text()), chart_text(subject(chosen, selection))]
    return load("altair").TitleParams(
        chart_text(text), subtitle=subtitle, anchor="start", color=INK, subtitleColor=MUTED, fontSize=13
    )


def _listed(kind: str, names: Sequence[object]) -> str:
    return f"{kind}{'s' if len(names) > 1 else ''} {', '.join(map(str, names))}"


def budget_text(chosen: Chosen, budget: float) -> str:
    """ "10 %", "256 tokens"."""
    return f"{budget:g} tokens" if chosen.ds.attrs.get("budget_kind") == "tokens" else f"{100 * budget:.3g} %"


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 of each decade, of many decades the powers of ten alone, of too small a range its middle."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if math.log10(high / low) < 3 else (1,)
    ticks = [float(f"{step}e{decade}") for decade in decades for step in steps]
    inside = [tick for tick in ticks if low <= tick <= high]
    return inside if len(inside) > 1 else [float(f"{math.sqrt(low * high):.2g}")]


def log_domain(values: Sequence[float]) -> tuple[float, float]:
    """Around positive values, with some room."""
    low, high = min(values), max(values)
    room = (high / low) ** 0.04 if high > low else 1.5
    return low / room, high * room


def linear_domain(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = 0.04 * (high - low) or 0.5
    return low - room, high + room


def share_axis(alt: ModuleType, field: str, values: Sequence[float], words: str, tokens: bool = False) -> altair.X:
    """A logarithmic axis of shares, or of tokens."""
    domain = log_domain(values)
    form = alt.Axis(values=log_ticks(*domain), format="~s" if tokens else "~%", grid=False, titleColor=MUTED)
    return alt.X(f"{field}:Q", title=words, axis=form, scale=alt.Scale(type="log", domain=list(domain), nice=False))


def value_axis(alt: ModuleType, field: str, values: Sequence[float], words: str, is_logarithmic: bool) -> altair.Y:
    if is_logarithmic:
        domain = log_domain(values)
        scale = alt.Scale(type="log", domain=list(domain), nice=False)
        axis = alt.Axis(values=log_ticks(*domain), format="~g", gridColor=NOTHING, titleColor=MUTED)
    else:
        scale = alt.Scale(domain=list(linear_domain(values)), nice=False)
        axis = alt.Axis(format="~g", gridColor=NOTHING, titleColor=MUTED)
    return alt.Y(f"{field}:Q", title=words, scale=scale, axis=axis)


def end_labels(
    alt: ModuleType, ends: Sequence[Mapping[str, object]], x: altair.X, y: altair.Y, is_logarithmic: bool
) -> altair.Chart:
    """A label at the end of each line, moved up or down where two would lie on each other.

    ends: x, y, text and colour of each
    """
    low, high = y["scale"]["domain"]
    forward, back = (np.log, np.exp) if is_logarithmic else (float, float)
    per_pixel = (forward(high) - forward(low)) / HEIGHT
    placed, next_free = [], 0.0
    for end in sorted(ends, key=lambda each: -each["y"]):
        next_free = max((forward(high) - forward(end["y"])) / per_pixel, next_free)
        placed.append([next_free, end])
        next_free += LABEL_GAP
    last_free = HEIGHT - LABEL_GAP / 2
    for label in reversed(placed):  # those that were pushed out below move the others up
        label[0] = min(label[0], last_free)
        last_free = label[0] - LABEL_GAP
    values = [{**end, "y": float(back(forward(high) - pixel * per_pixel))} for pixel, end in placed]
    return (
        alt.Chart(alt.Data(values=values))
        .mark_text(align="left", baseline="middle", dx=6, fontSize=11)
        .encode(x=x, y=y, text="text:N", color=alt.Color("colour:N", scale=None))
    )


def framed(alt: ModuleType, layers: Sequence[altair.Chart], heading: altair.TitleParams) -> altair.LayerChart:
    """The layers of a chart of lines, without a frame: labels stand across its right side."""
    view = alt.ViewBackground(stroke=None)
    return alt.layer(*layers).properties(width=WIDTH, height=HEIGHT, title=heading, view=view)
