"""Decides what one sample will hold before the model runs: positions of queries, and compression points."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..common.errors import InputError
from ..common.prompt_tokens import PromptTokens, TokenSpan
from ..common.prompts import Prompt

LAST_TOKENS = re.compile(r"last:(\d+)")


@dataclass(frozen=True)
class SamplePlan:
    name: str
    prompt_ids: list[int]
    n_decode: int
    spans: list[TokenSpan]
    compression_points: list[tuple[str, int]]  # ascending position
    query_ranges: list[tuple[int, int]]  # positions [begin, end), ascending, apart from each other
    n_prefix: int  # tokens of the chat template before the first message

    @property
    def decode_start(self) -> int:
        return len(self.prompt_ids)

    @property
    def n_tokens(self) -> int:
        return len(self.prompt_ids) + self.n_decode

    @property
    def n_recorded(self) -> int:
        return sum(end - begin for begin, end in self.query_ranges)


def plan_sample(prompt: Prompt, tokens: PromptTokens, n_decode: int, query_spans: list[str]) -> SamplePlan:
    """`query_spans`: the items of --query-spans."""
    n_prompt = len(tokens.ids)
    ranges = [item_range for item in query_spans for item_range in _item_ranges(item, tokens, prompt)]
    query_ranges = join_ranges(ranges + [(n_prompt, n_prompt + n_decode)])
    if not query_ranges:
        raise InputError(
            f"{prompt.where}: no queries to record in '{prompt.name}': decode tokens or choose --query-spans"
        )
    return SamplePlan(
        name=prompt.name,
        prompt_ids=tokens.ids,
        n_decode=n_decode,
        spans=tokens.spans,
        compression_points=_compression_points(prompt, tokens, n_prompt + n_decode),
        query_ranges=query_ranges,
        n_prefix=tokens.n_prefix,
    )


def join_ranges(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The union of ranges [begin, end) as ascending ranges that neither overlap nor touch, without empty ones."""
    joined: list[tuple[int, int]] = []
    for begin, end in sorted(item for item in ranges if item[0] < item[1]):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((begin, end))
    return joined


def _item_ranges(item: str, tokens: PromptTokens, prompt: Prompt) -> list[tuple[int, int]]:
    """The prompt positions that one item of --query-spans stands for."""
    n_prompt = len(tokens.ids)
    if item == "all":
        return [(0, n_prompt)]
    if last := LAST_TOKENS.fullmatch(item):
        return [(max(0, n_prompt - int(last.group(1))), n_prompt)]
    return [(span.begin, span.end) for span in _named(item, tokens, prompt, "--query-spans")]


def _compression_points(prompt: Prompt, tokens: PromptTokens, n_tokens: int) -> list[tuple[str, int]]:
    """`prompt`, `context` where there is such a span, and the prompt's own ones."""
    points: dict[str, int] = {}
    if any(span.name == "context" for span in tokens.spans):
        points["context"] = _end_of("context", tokens, prompt)
    points["prompt"] = len(tokens.ids)
    # Nothing attends to a cache that ends here, so there would be nothing to evaluate.
    points = {name: position for name, position in points.items() if position < n_tokens}
    for name, position in prompt.compression_points.items():
        if isinstance(position, str):
            position = _end_of(position, tokens, prompt)
        if not 0 < position < n_tokens:
            raise InputError(
                f"{prompt.where}: the compression point '{name}' at {position} lies outside (0, {n_tokens})"
            )
        points[name] = position
    return sorted(points.items(), key=lambda point: (point[1], point[0]))


def _end_of(name: str, tokens: PromptTokens, prompt: Prompt) -> int:
    return max(span.end for span in _named(name, tokens, prompt, "compression_points"))


def _named(name: str, tokens: PromptTokens, prompt: Prompt, option: str) -> list[TokenSpan]:
    spans = [span for span in tokens.spans if span.name == name]
    if not spans:
        known = ", ".join(sorted({span.name for span in tokens.spans})) or "none"
        raise InputError(f"{prompt.where}: {option}: no span '{name}' in '{prompt.name}' (its spans: {known})")
    return spans
