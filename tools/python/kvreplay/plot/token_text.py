"""A prompt with a shade behind every token: what a policy keeps of it, as notebooks show it."""

from __future__ import annotations

import html
from dataclasses import dataclass, field

import numpy as np

from ..common.printable import printable

KEPT = (11, 98, 168)
SPAN_COLOURS = ("#be185d", "#047857", "#7a4b00", "#6d28d9")
N_SHADES = 20
MOST_TOKENS = 20_000  # that a page shows in good time


@dataclass(frozen=True)
class Span:
    name: str
    begin: int  # positions, the end not in it
    end: int


@dataclass(frozen=True)
class TokenText:
    """What a policy keeps of the tokens before a compression point. Notebooks show it as text.

    share: [n_tokens] of the sets, one for each layer and head, the share that keeps the token; NaN where it is out of
        every layer's window
    texts: [n_tokens]
    """

    case: str
    policy: str
    budget: str
    n_sets: int
    texts: list[str]
    share: np.ndarray = field(repr=False)
    spans: list[Span]

    def __repr__(self) -> str:
        return f"TokenText({self.summary()})"

    def summary(self) -> str:
        """The share kept of all tokens and of each span, in words."""
        parts = [f"{self._kept(0, len(self.share))} of {len(self.share):,} tokens"]
        parts += [f"{printable(span.name)} {self._kept(span.begin, span.end)}" for span in self.spans]
        return (
            f"{printable(self.policy)} at {self.budget} keeps {', '.join(parts)} in {printable(self.case)}; "
            f"{self.n_sets} sets"
        )

    def _kept(self, begin: int, end: int) -> str:
        known = self.share[begin:end][~np.isnan(self.share[begin:end])]
        return f"{100 * known.mean():.3g} %" if len(known) else "–"

    def _repr_html_(self) -> str:
        """Everything that files say is escaped. Tokens of one shade and one span are one element, and of more than
        MOST_TOKENS tokens the first and the last are shown."""
        n = len(self.share)
        half = MOST_TOKENS // 2
        ranges = [(0, n)] if n <= MOST_TOKENS else [(0, half), (n - half, n)]
        gap = f"<div style='color:#566373'>… {n - 2 * half:,} tokens in between are not shown …</div>"
        body = gap.join("".join(self._run(*run) for run in self._runs(*each)) for each in ranges)
        return (
            "<div style='background:#fff;color:#16202b;padding:8px'>"
            f"<div style='font:13px sans-serif;margin-bottom:6px'>{html.escape(self.summary())}{self._legend()}</div>"
            f"<div style='white-space:pre-wrap;overflow-wrap:anywhere;font:13px/1.7 monospace'>{body}</div></div>"
        )

    def _legend(self) -> str:
        shades = "".join(
            f" <span style='background:{_shade(share)};padding:0 4px'>{text}</span>"
            for share, text in ((0.0, "kept in no set"), (0.5, "in half"), (1.0, "in all"))
        )
        names = "".join(
            f" <span style='{_underline(index)}'>{html.escape(printable(span.name))}</span>"
            for index, span in enumerate(self.spans)
            if self._is_marked(span)
        )
        return f"<br>{shades}{names}"

    def _is_marked(self, span: Span) -> bool:
        """A line under most of the prompt would point at nothing."""
        return 2 * (span.end - span.begin) <= len(self.share)

    def _runs(self, first: int, last: int) -> list[tuple[int, int]]:
        """[begin, end) of neighbours with one look."""
        looks = [self._look(position) for position in range(first, last)]
        cuts = [first, *(first + i for i in range(1, len(looks)) if looks[i] != looks[i - 1]), last]
        return list(zip(cuts, cuts[1:]))

    def _look(self, position: int) -> tuple[int, int | None]:
        """Its shade, -1 for none, and the innermost span."""
        inside = [i for i, span in enumerate(self.spans) if span.begin <= position < span.end and self._is_marked(span)]
        innermost = min(inside, key=lambda i: self.spans[i].end - self.spans[i].begin, default=None)
        share = self.share[position]
        return -1 if np.isnan(share) else round(N_SHADES * share), innermost

    def _run(self, begin: int, end: int) -> str:
        shade, span = self._look(begin)
        style = "color:#66727f" if shade <= 0 else f"background:{_shade(shade / N_SHADES)}"
        if span is not None:
            style += f";{_underline(span)}"
        kept = "out of every window" if shade < 0 else f"kept in {self._kept(begin, end)} of the sets"
        where = f"token {begin}" if end == begin + 1 else f"tokens {begin} to {end - 1}"
        text = html.escape("".join(map(_shown, self.texts[begin:end])))
        return f"<span style='{style}' title='{where}: {kept}'>{text}</span>"


def _shown(text: str) -> str:
    """Line ends and tabs stay; other characters that do not print, or would turn the direction, are written out."""
    return "".join(each if each in "\n\t" else printable(each) for each in text)


def _shade(share: float) -> str:
    return f"rgba({KEPT[0]},{KEPT[1]},{KEPT[2]},{0.5 * share:.3f})"


def _underline(span: int) -> str:
    return f"border-bottom:1px solid {SPAN_COLOURS[span % len(SPAN_COLOURS)]}"
