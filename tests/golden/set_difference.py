"""What it means that two retained sets of one press differ: how many tokens, and how far apart their scores lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tests.golden.golden_file import Golden

CHUNK = 20  # ChunkKVPress's default chunk_length


@dataclass
class Difference:
    """Two sets that differ at one ratio, in one head, or in one layer where its heads share a budget."""

    where: str
    n_tokens: int  # kept by kvpress alone
    gap: float  # largest distance between scores of differing tokens, relative to the larger one; inf: not comparable


def differences(golden: Golden, found: dict[int, np.ndarray]) -> list[Difference]:
    """`found` by layer, bool [n_ratios, n_heads, n_candidates]."""
    if golden.scope == "model":
        golden, found = _as_one_layer(golden, found)
    result = []
    for layer, expected in golden.retained.items():
        if found[layer].shape != expected.shape:
            raise AssertionError(f"layer {layer}: sets {found[layer].shape} instead of {expected.shape}")
        for ratio in range(len(expected)):
            for heads in _pools(golden.scope, expected.shape[1]):
                ours, theirs = found[layer][ratio, heads], expected[ratio, heads]
                if not np.array_equal(ours, theirs):
                    where = f"layer {layer}, ratio {ratio}, heads {heads.start}:{heads.stop}"
                    gap = _gap(golden, layer, ratio, heads, ours, theirs)
                    result.append(Difference(where, int((theirs & ~ours).sum()), gap))
    return result


def _as_one_layer(golden: Golden, found: dict[int, np.ndarray]) -> tuple[Golden, dict[int, np.ndarray]]:
    """All heads of the model as those of one layer, since they share a budget."""
    layers = sorted(golden.retained)

    def join(by_layer: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
        return {0: np.concatenate([by_layer[layer] for layer in layers], axis=1)} if by_layer else {}

    joined = Golden(
        golden.press, golden.policy, "layer", join(golden.retained), join(golden.scores), join(golden.plain)
    )
    return joined, join(found)


def _pools(scope: str, n_heads: int) -> list[slice]:
    """The heads that share a budget."""
    return [slice(head, head + 1) for head in range(n_heads)] if scope == "head" else [slice(0, n_heads)]


def _gap(golden: Golden, layer: int, ratio: int, heads: slice, ours: np.ndarray, theirs: np.ndarray) -> float:
    """Tokens that differ belong to one tie class when all their scores are equal: then they lie at the cut.

    Or their plain scores are equal: a wrapper has told apart what the inner press protects, all at one score.
    """
    if golden.scope != "chunks" and ours.sum() != theirs.sum():
        return np.inf
    differ = ours != theirs
    gaps = [np.inf]
    for kind in (golden.scores, golden.plain):
        if layer in kind:
            scores = kind[layer][ratio, heads]
            if golden.scope == "chunks":
                scores = _chunk_scores(scores)
            values = scores[differ]
            gaps.append(float(np.ptp(values) / np.abs(values).max()))
    return min(gaps)


def _chunk_scores(scores: np.ndarray) -> np.ndarray:
    """Each token's chunk's score, [n_heads, n] -> [n_heads, n]: sum over heads, mean over the chunk."""
    total = scores.sum(axis=0)
    chunks = np.split(total, range(CHUNK, len(total), CHUNK))
    return np.broadcast_to(np.concatenate([np.full(len(chunk), chunk.mean()) for chunk in chunks]), scores.shape)
