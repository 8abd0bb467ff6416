"""Makes a trace of tensors that some other program left: a layer of a sample at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .. import VERSION
from ..common.errors import InputError
from ..common.printable import printable
from ..common.trace_writer import DTYPES, TracedModel, TraceWriter
from .axes import Sizes, arranged, n_tokens_of
from .command_line import PROGRAM
from .float_arrays import ITEM_BYTES
from .import_map import ImportMap, SampleRule, read_map
from .model_config import ImportedModel, read_model
from .sample_import import SampleImport, check_finite, layer_tensors, plan_sample, stored
from .tensor_index import TensorIndex, TensorPlace, TensorShelf


@dataclass(frozen=True)
class ImportOptions:
    config: Path | None = None
    dtype: str | None = None  # None: as the tensors are
    gzip: bool = False
    model_id: str | None = None
    decode_start: int | None = None
    compression_points: dict[str, int] | None = None


def import_files(
    named_map: str,
    files: Sequence[Path],
    output: Path,
    options: ImportOptions,
    told: Callable[[str], None] = lambda line: None,
) -> str:
    """Writes the trace; returns what it holds, in a line or two. `told` hears how far it is."""
    rules = read_map(named_map)
    model = read_model(options.config, rules.model, rules.where, _is_rotary(rules))
    if not _is_rotary(rules) and (model.config.get("rope_theta") or model.config.get("rope_parameters")):
        raise InputError(f"{options.config}: the model has RoPE; the map '{rules.where}' is of models without")
    asked = _asked(rules.sample, options)
    with TensorShelf() as shelf:
        index = TensorIndex(rules, files, shelf, output.stem)
        layers = index.layers
        if layers[-1] >= model.n_layers:
            raise InputError(f"layer {layers[-1]} is among the tensors; the model has {model.n_layers} layers")
        samples = [plan_sample(each, rules, asked, model, shelf) for each in index.samples.values()]
        dtype = _dtype(index, options.dtype)
        with TraceWriter(output, dtype, options.gzip) as trace:
            _write_model(trace, model, layers, index, rules, dtype, options.model_id, shelf)
            for number, sample in enumerate(samples):
                trace.write_sample_root(number, sample.traced)
                for layer in layers:
                    told(f"{sample.traced.name}: layer {layer}")
                    trace.write_sample_layer(number, layer, layer_tensors(sample, layer, rules, model, dtype, shelf))
            trace.commit()
    return _described(output, samples, layers, model, dtype)


def _is_rotary(rules: ImportMap) -> bool:
    states = {rule.rope for rule in (rules.keys, rules.queries) if rule is not None}
    if "none" in states and len(states) > 1:
        raise InputError(f"{rules.where}: rope: keys and queries have RoPE or have none, both alike")
    return states != {"none"}


def _asked(rule: SampleRule, options: ImportOptions) -> SampleRule:
    start = rule.decode_start if options.decode_start is None else options.decode_start
    points = {**rule.compression_points, **(options.compression_points or {})}
    for name in points:
        if not name or name in (".", "..") or "/" in name or printable(name) != name:
            raise InputError(f"compression point '{printable(name)}': expected a name that prints, without '/'")
    return replace(rule, decode_start=start, compression_points=points)


def _dtype(index: TensorIndex, asked: str | None) -> str:
    """The trace's: asked for, or that of all tensors."""
    if asked is not None:
        return asked
    first: TensorPlace | None = None
    for sample in index.samples.values():
        for layers in sample.layers.values():
            for place in layers.values():
                kind = place.entry.dtype
                if kind not in ITEM_BYTES:
                    raise InputError(f"{place.where}: expected floating-point numbers, found {kind}")
                if kind not in DTYPES:
                    raise InputError(f"{place.where}: a trace holds no {kind}: give --dtype {', '.join(DTYPES)}")
                first = first or place
                if kind != first.entry.dtype:
                    raise InputError(
                        f"{place.where} is {kind}, and {first.where} {first.entry.dtype}: give --dtype for all"
                    )
    return first.entry.dtype


def _write_model(
    trace: TraceWriter,
    model: ImportedModel,
    layers: list[int],
    index: TensorIndex,
    rules: ImportMap,
    dtype: str,
    model_id: str | None,
    shelf: TensorShelf,
) -> None:
    rope = (
        next((model.ropes[layer] for layer in layers if model.ropes[layer].inv_freq.any()), None)
        if model.ropes
        else None
    )
    traced = TracedModel(
        model_id=printable(str(model_id or model.model_id)),
        model_config=json.dumps(model.config),
        n_layers=model.n_layers,
        layers=layers,
        n_q_heads=model.n_q_heads,
        n_kv_heads=model.n_kv_heads,
        head_dim=model.head_dim,
        value_dim=model.head_dim,
        hidden_size=model.hidden_size,
        softmax_scale=model.softmax_scale,
        logit_softcap=model.logit_softcap,
        rope=rope,
    )
    trace.write_root(traced, f"{PROGRAM} {VERSION} ({rules.where})")
    for layer in layers:
        projection = None
        if layer in index.output_projection:
            projection = _output_projection(index.output_projection[layer], rules, model, dtype, shelf)
        own = model.ropes[layer] if model.ropes else None
        trace.write_model_layer(layer, model.sliding_windows[layer], own, rope, projection)


def _output_projection(place: TensorPlace, rules: ImportMap, model: ImportedModel, dtype: str, shelf: TensorShelf):
    """[n_q_heads * head_dim, hidden_size]"""
    axes, sizes = rules.output_projection.axes, Sizes(model.n_q_heads, model.head_dim, model.hidden_size)
    n_tokens_of(place.entry.shape, axes, sizes, place.where)
    array = arranged(shelf.floats(place), axes, sizes, ("head", "head_dim", "hidden"), place.layer, None)
    check_finite(array, place, order=("head", "value channel", "output channel"))
    return stored(array, dtype, place).reshape(-1, model.hidden_size)


def _described(output: Path, samples: list[SampleImport], layers: list[int], model: ImportedModel, dtype: str) -> str:
    n_tokens = sum(sample.n_tokens for sample in samples)
    counted = f"{len(samples)} sample{'s' if len(samples) != 1 else ''} of {n_tokens} tokens"
    of_layers = f"{len(layers)} of {model.n_layers} layers"
    has = "queries, keys and values" if samples[0].traced.query_ranges else "keys and values, no queries"
    return f"{output}: {counted}, {of_layers}, {dtype}: {has}"
