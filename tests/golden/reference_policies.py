"""The methods that kvpress lacks, in float64 numpy: independent of the program, written from the papers' formulas.

`reference_goldens` gives what each keeps on a trace, in the form of the golden data of kvpress.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Callable

import numpy as np

from tests.golden import reference_allocators as allocators
from tests.golden import reference_modifiers as modifiers
from tests.golden import reference_scorers as scorers
from tests.golden import reference_selection as selection
from tests.golden.golden_file import RATIOS, Golden
from tests.golden.reference_scorers import Scored, top
from tests.golden.reference_trace import Layer


@dataclass
class Reference:
    """A policy: a scorer, modifiers, and how the budget is split; `scope` as in Golden, or "model"."""

    scorer: Callable[[Layer], Scored]
    modifiers: list[Callable[[Layer, Scored], Scored]] = field(default_factory=list)
    modifier_at: Callable[[Layer, Scored, float], Scored] | None = None  # one that depends on the share removed
    allocator: Callable[[list[Layer], list[Scored], int], allocators.Counts] | None = None
    allocator_at: Callable[[list[Layer], list[Scored], float], allocators.Counts] | None = None  # of the share removed
    scope: str = "head"


def reference_policies(table: Path) -> dict[str, Reference]:
    """By the text of the policy. `table`: numbers for each layer and KV head."""
    shares = np.loadtxt(table, ndmin=2)
    defensive = partial(Reference, scorers.defensive, modifier_at=modifiers.defensive_critical)
    return {
        "h2o": Reference(scorers.h2o),
        "attention:dialect=scissorhands,window=200": Reference(partial(scorers.scissorhands, window=200)),
        "sage-kv": Reference(scorers.sage_kv),
        "snapkv:group=max": Reference(partial(scorers.snapkv, group="max")),
        "snapkv:group=none": Reference(partial(scorers.snapkv, group="none")),
        "caote": Reference(scorers.caote),
        "caote:output=mean": Reference(partial(scorers.caote, output="mean")),
        "caote:window=16": Reference(partial(scorers.caote, window=16)),
        "caote:window=16,reduce=max": Reference(partial(scorers.caote, window=16, reduce="max")),
        "snapkv+caote": Reference(scorers.snapkv, [modifiers.caote]),
        "snapkv+caote:output=mean": Reference(scorers.snapkv, [partial(modifiers.caote, output="mean")]),
        "lava+uniform": Reference(scorers.lava),
        "lava": Reference(scorers.lava, allocator=allocators.lava),
        "cake+uniform": Reference(scorers.cake),
        "cake": Reference(scorers.cake, allocator=allocators.cake),
        "defensive": Reference(scorers.defensive),
        "defensivekv": defensive(scope="layer"),
        "layer-defensivekv": defensive(scope="model"),
        "vatp": Reference(scorers.h2o, [modifiers.value_norm, partial(modifiers.protect, sinks=20)]),
        "snapkv+value-norm:norm=l2,epsilon=0.01": Reference(
            scorers.snapkv, [partial(modifiers.value_norm, norm="l2", epsilon=0.01)]
        ),
        "h2o+value-norm:of=projected": Reference(scorers.h2o, [partial(modifiers.value_norm, of="projected")]),
        "capkv:tau=0.1,weight=dot": Reference(partial(scorers.capkv, tau=0.1, weight="dot")),
        "capkv:noise=0.1,vectors=projected": Reference(partial(scorers.capkv, noise=0.1, vectors="projected")),
        "capkv-greedy": Reference(partial(selection.capkv_order, adding=True)),
        "capkv-greedy:noise=0.1,vectors=projected": Reference(
            partial(selection.capkv_order, adding=True, noise=0.1, vectors="projected")
        ),
        "capkv-backward": Reference(partial(selection.capkv_order, adding=False)),
        "capkv-pooled": Reference(scorers.capkv, allocator_at=allocators.capacity),
        "snapkv+capacity:noise=0.1": Reference(scorers.snapkv, allocator_at=partial(allocators.capacity, noise=0.1)),
        "error-oracle": Reference(selection.error_oracle),
        "error-greedy:growth=0": Reference(partial(selection.error_order, adding=True)),
        "error-backward:growth=0": Reference(partial(selection.error_order, adding=False)),
        "jacap": Reference(scorers.jacap),
        "r-kv": Reference(scorers.r_kv),
        "value-norm": Reference(scorers.value_norm),
        "value-norm:norm=l2,of=value": Reference(partial(scorers.value_norm, norm="l2", of="value")),
        "keydiff+block": Reference(scorers.keydiff, [modifiers.block]),
        "keydiff+block:length=10,reduce=max": Reference(
            scorers.keydiff, [partial(modifiers.block, length=10, reduce="max")]
        ),
        "keydiff+protect:sinks=3,recent=5": Reference(scorers.keydiff, [partial(modifiers.protect, sinks=3, recent=5)]),
        "keydiff+protect:first_share=0.1,recent_share=0.1": Reference(
            scorers.keydiff, [partial(modifiers.protect, first_share=0.1, recent_share=0.1)]
        ),
        "squeeze-streaming": Reference(scorers.streaming_llm, allocator=allocators.squeeze),
        "h2o+squeeze:share=0.2": Reference(scorers.h2o, allocator=partial(allocators.squeeze, share=0.2)),
        "snapkv:window=32+lava": Reference(partial(scorers.snapkv, window=32), allocator=allocators.lava),
        "snapkv+global": Reference(scorers.snapkv, scope="model"),
        f"keydiff+file:table={table.name}": Reference(
            scorers.keydiff, allocator=partial(allocators.table, shares=shares)
        ),
    }


def reference_goldens(layers: dict[int, Layer], policies: dict[str, Reference]) -> dict[str, Golden]:
    """By policy. Scores are those that decided: what is protected stands above all others."""
    return {policy: _golden(layers, policy, reference) for policy, reference in policies.items()}


def _golden(layers: dict[int, Layer], policy: str, reference: Reference) -> Golden:
    golden = Golden("", policy, reference.scope)
    plain = [_scored(layer, reference) for layer in layers.values()]
    by_ratio = [_keep_at(list(layers.values()), plain, reference, ratio) for ratio in RATIOS]
    for at, layer in enumerate(layers):
        golden.retained[layer] = np.stack([retained[at] for retained, _ in by_ratio])
        golden.scores[layer] = np.stack([ranked[at] for _, ranked in by_ratio])
    return golden


def _scored(layer: Layer, reference: Reference) -> Scored:
    scored = reference.scorer(layer)
    for modifier in reference.modifiers:
        scored = modifier(layer, scored)
    return scored


def _keep_at(layers: list[Layer], plain: list[Scored], reference: Reference, ratio: float) -> tuple[list, list]:
    """Retained sets and deciding scores of all layers, each [n_heads, n]."""
    n = layers[0].n
    budget = int(n * (1 - ratio))
    scored = plain
    if reference.modifier_at:
        scored = [reference.modifier_at(layer, one, ratio) for layer, one in zip(layers, plain)]
    above = 2 * max(float(np.abs(one.scores).max()) for one in scored) + 1
    if reference.scope == "head":
        if reference.allocator_at:
            counts = reference.allocator_at(layers, scored, ratio)
        elif reference.allocator:
            counts = reference.allocator(layers, scored, budget)
        else:
            counts = [np.full(len(one.scores), budget) for one in scored]
        return _keep_by_head(scored, counts, above)
    # What is protected is not counted by head here: it stands above everything in one pool.
    classes = [one.in_classes(budget, above) for one in scored]
    ordered = [one.in_order(budget, above) for one in scored]
    if reference.scope == "layer":
        return [top(rows, budget * len(rows)) for rows in ordered], classes
    stacked = np.concatenate(ordered)
    kept = top(stacked, stacked.size - int(stacked.size * ratio))
    return np.split(kept, np.cumsum([len(rows) for rows in ordered])[:-1]), classes


def _keep(scored: Scored, head: int, count: int, above: float) -> np.ndarray:
    if scored.first_share and scored.recent_share:
        return _keep_between_shares(scored, head, count)
    return top(scored.in_order(count, above)[head], count)


def _keep_between_shares(scored: Scored, head: int, count: int) -> np.ndarray:
    """Sets grow token by token: where a first and a newest one come due at once, the newest follows a step later."""
    kept, n_first, n_newest = [], 0, 0
    best = list(np.argsort(-scored.scores[head], kind="stable"))
    for size in range(1, count + 1):
        due = []
        if n_first < int(scored.first_share * size):
            due.append(n_first)
            n_first += 1
        if (not due or due[0] in kept) and n_newest < int(scored.recent_share * size):
            due.append(scored.n - 1 - n_newest)
            n_newest += 1
        kept.append(next(token for token in due + best if token not in kept))
    return np.isin(np.arange(scored.n), kept)


def _keep_by_head(scored: list[Scored], counts: allocators.Counts, above: float) -> tuple[list, list]:
    """Each head its own count; shares that are protected are shares of that."""
    retained = [
        np.stack([_keep(one, head, count, above) for head, count in enumerate(heads)])
        for one, heads in zip(scored, counts, strict=True)
    ]
    classes = [
        np.stack([one.in_classes(count, above)[head] for head, count in enumerate(heads)])
        for one, heads in zip(scored, counts, strict=True)
    ]
    return retained, classes
