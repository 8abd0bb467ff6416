"""One sample of an import: its tokens, queries' positions and compression points, and the tensors of its layers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..common.errors import InputError
from ..common.trace_writer import UNKNOWN_TOKEN, TracedSample
from .axes import Sizes, arranged, n_tokens_of
from .float_arrays import LARGEST, FloatArray, is_finite, rounded, widened
from .import_map import ImportMap, SampleRule, TensorRule
from .model_config import ImportedModel
from .rope_parameters import rotate
from .tensor_index import SampleTensors, TensorPlace, TensorShelf

MAX_TOKENS = 2**27
PART = {"keys": 0, "values": 1, "queries": None}  # along the axis key_value


@dataclass(frozen=True)
class SampleImport:
    """`traced`: what the trace says of it."""

    tensors: SampleTensors
    traced: TracedSample
    query_positions: np.ndarray  # [n_queries]

    @property
    def n_tokens(self) -> int:
        return len(self.traced.token_ids)


def plan_sample(
    tensors: SampleTensors, rules: ImportMap, asked: SampleRule, model: ImportedModel, shelf: TensorShelf
) -> SampleImport:
    """Checks the shapes of all tensors before any is read. `asked`: the map's rule, with the options in it."""
    counts = {}
    for kind, layers in tensors.layers.items():
        rule = getattr(rules, kind)
        for layer, place in sorted(layers.items()):
            n = n_tokens_of(place.entry.shape, rule.axes, _sizes(model, kind), place.where)
            other = counts.setdefault(kind, n)
            if n != other:
                raise InputError(f"{place.where}: expected {other} tokens as in the layers before, found {n}")
            if not 1 <= n <= MAX_TOKENS:
                raise InputError(f"{place.where}: expected 1 to {MAX_TOKENS} tokens, found {n}")
    n_tokens = counts["keys"]
    if counts["values"] != n_tokens:
        raise InputError(f"sample '{tensors.name}': {n_tokens} keys and {counts['values']} values")
    positions = _query_positions(tensors, rules, counts.get("queries"), n_tokens, shelf)
    traced = TracedSample(
        name=tensors.name,
        decode_start=_position(asked.decode_start, n_tokens, n_tokens, f"sample '{tensors.name}': decode_start"),
        token_source=asked.token_source,
        token_ids=_token_ids(tensors, n_tokens, shelf),
        query_ranges=_ranges(positions),
        compression_points=[],
        spans=_spans(asked, n_tokens, tensors.name),
    )
    traced.compression_points.extend(_compression_points(asked, traced, n_tokens))
    return SampleImport(tensors, traced, positions)


def layer_tensors(
    sample: SampleImport, layer: int, rules: ImportMap, model: ImportedModel, dtype: str, shelf: TensorShelf
) -> dict[str, np.ndarray]:
    """Queries, where there are any, keys and values of one layer as a trace has them, [heads, n, head_dim]."""
    tensors = {}
    for kind in ("queries", "keys", "values"):
        if kind not in sample.tensors.layers:
            continue
        place, rule = sample.tensors.layers[kind][layer], getattr(rules, kind)
        array = _arranged(place, rule, model, kind, shelf)
        check_finite(array, place, order=("head", "token", "channel"))
        if kind != "values" and rule.rope == "before":
            positions = sample.query_positions if kind == "queries" else np.arange(sample.n_tokens)
            array = FloatArray(rotate(widened(array), positions, model.ropes[layer]), "float64")
        tensors[kind] = stored(array, dtype, place)
    return tensors


def check_finite(array: FloatArray, place: TensorPlace, order: tuple[str, ...]) -> None:
    """Throws InputError naming the first value that is not. `order`: what its axes are."""
    finite = is_finite(array)
    if not finite.all():
        at = tuple(np.argwhere(~finite)[0])
        found = widened(FloatArray(array.values[at].reshape(1), array.dtype))[0]
        named = ", ".join(f"{word} {index}" for word, index in zip(order, at))
        raise InputError(f"{place.where}: {named}: expected a finite value, found {found}")


def stored(array: FloatArray, dtype: str, place: TensorPlace) -> np.ndarray:
    """In the trace's dtype. Throws InputError where that cannot hold a value."""
    if array.dtype == dtype:
        return array.values
    wide = widened(array)
    largest = float(np.abs(wide).max(initial=0.0))
    if largest > LARGEST[dtype]:
        raise InputError(f"{place.where}: reaches {largest:.6g}, beyond {dtype}: give --dtype bfloat16 or float32")
    return rounded(wide, dtype).values


def _arranged(place: TensorPlace, rule: TensorRule, model: ImportedModel, kind: str, shelf: TensorShelf) -> FloatArray:
    order = ("head", "token", "head_dim")
    return arranged(shelf.floats(place), rule.axes, _sizes(model, kind), order, place.layer, PART[kind])


def _sizes(model: ImportedModel, kind: str) -> Sizes:
    n_heads = model.n_q_heads if kind == "queries" else model.n_kv_heads
    return Sizes(n_heads, model.head_dim, model.hidden_size)


def _token_ids(tensors: SampleTensors, n_tokens: int, shelf: TensorShelf) -> np.ndarray:
    if tensors.token_ids is None:
        return np.full(n_tokens, UNKNOWN_TOKEN, np.int32)
    place = tensors.token_ids
    if int(np.prod(place.entry.shape, dtype=np.int64)) != n_tokens:
        raise InputError(f"{place.where}: expected {n_tokens} token ids, found a shape of {list(place.entry.shape)}")
    ids = shelf.integers(place).reshape(-1)
    if ids.min() < 0 or ids.max() >= 2**31:
        raise InputError(f"{place.where}: expected token ids from 0 to 2^31 - 1, found {ids.min()} to {ids.max()}")
    return ids.astype(np.int32)


def _query_positions(
    tensors: SampleTensors, rules: ImportMap, n_queries: int | None, n_tokens: int, shelf: TensorShelf
) -> np.ndarray:
    if n_queries is None:
        return np.zeros(0, np.int64)
    where = f"sample '{tensors.name}'"
    if rules.query_positions == "all":
        if n_queries != n_tokens:
            raise InputError(
                f"{where}: {n_queries} queries and {n_tokens} keys: say in the map where queries stand (query_positions)"
            )
        return np.arange(n_tokens)
    if rules.query_positions == "last":
        if n_queries > n_tokens:
            raise InputError(f"{where}: {n_queries} queries and {n_tokens} keys")
        return np.arange(n_tokens - n_queries, n_tokens)
    place = tensors.query_positions
    if place is None:
        raise InputError(f"{where}: no tensor is called '{rules.query_positions}', the map's query_positions")
    if int(np.prod(place.entry.shape, dtype=np.int64)) != n_queries:
        raise InputError(f"{place.where}: expected {n_queries} positions, found a shape of {list(place.entry.shape)}")
    positions = shelf.integers(place).reshape(-1).astype(np.int64)
    if (np.diff(positions) <= 0).any() or positions[0] < 0 or positions[-1] >= n_tokens:
        raise InputError(f"{place.where}: expected ascending positions in [0, {n_tokens})")
    return positions


def _ranges(positions: np.ndarray) -> list[tuple[int, int]]:
    if len(positions) == 0:
        return []
    breaks = np.flatnonzero(np.diff(positions) != 1) + 1
    return [(int(run[0]), int(run[-1]) + 1) for run in np.split(positions, breaks)]


def _position(asked: int | None, n_tokens: int, default: int, where: str) -> int:
    """Counted from the end where negative."""
    if asked is None:
        return default
    position = asked + n_tokens if asked < 0 else asked
    if not 1 <= position <= n_tokens:
        raise InputError(f"{where}: expected a position in 1 to {n_tokens}, found {asked}")
    return position


def _compression_points(asked: SampleRule, traced: TracedSample, n_tokens: int) -> list[tuple[str, int]]:
    """Those asked for, and `prompt` where the prompt ends. After the last token only where nothing is asked of it."""
    last = n_tokens - (1 if traced.query_ranges else 0)
    points = {"prompt": traced.decode_start} if traced.decode_start <= last else {}
    for name, position in asked.compression_points.items():
        where = f"sample '{traced.name}': compression point '{name}'"
        points[name] = _position(position, n_tokens, n_tokens, where)
        if points[name] > last:
            raise InputError(f"{where}: expected a position in 1 to {last}, with queries after it, found {position}")
    return sorted(points.items(), key=lambda point: (point[1], point[0]))


def _spans(asked: SampleRule, n_tokens: int, name: str) -> list[tuple[str, int, int]]:
    spans = []
    for span, ends in asked.spans.items():
        begin, end = (position + n_tokens if position < 0 else position for position in ends)
        if not 0 <= begin < end <= n_tokens:
            raise InputError(
                f"sample '{name}': span '{span}': expected [begin, end) within [0, {n_tokens}), found {ends}"
            )
        spans.append((span, begin, end))
    return sorted(spans, key=lambda span: span[1:])
