"""What a trace holds (docs/formats/trace.md), as arrays of NumPy that are read when they are first used."""

from __future__ import annotations

import html
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np

from ..common.errors import InputError, UsageError, first_line
from ..common.inspected_file import open_inspected
from ..common.nearest_name import unknown_name
from ..common.printable import printable
from .words import PathLike, path_word


@dataclass(frozen=True)
class TraceLayer:
    """One layer of one sample. Arrays are float32 and read-only, read on first use and kept while this lives.

    index: of the model's layers; sliding_window: tokens, 0 for full attention"""

    path: Path
    sample: str
    group: str = field(repr=False)
    index: int
    sliding_window: int

    @cached_property
    def keys(self) -> np.ndarray:
        """[n_kv_heads, n_tokens, head_dim], after RoPE"""
        return self._read(f"{self.group}/keys")

    @cached_property
    def values(self) -> np.ndarray:
        """[n_kv_heads, n_tokens, value_dim]"""
        return self._read(f"{self.group}/values")

    @cached_property
    def queries(self) -> np.ndarray:
        """[n_q_heads, n_recorded, head_dim], after RoPE; row r stands at the sample's query_positions[r]"""
        return self._read(f"{self.group}/queries")

    @cached_property
    def output_projection(self) -> np.ndarray:
        """[n_q_heads * value_dim, hidden_size]: W_O, concat(heads) @ W_O is the block's output. Throws InputError where
        none is recorded."""
        return self._read(f"model/layers/{self.index:02d}/output_projection")

    def _read(self, name: str) -> np.ndarray:
        with open_inspected(self.path) as file:
            if name not in file:
                raise InputError(f"{self.path}: /{name} is not recorded")
            array = _as_float32(file[name])
        array.flags.writeable = False
        return array


@dataclass(frozen=True)
class TraceSample:
    """One prompt with its answer.

    n_tokens: of both; decode_start: of the prompt. compression_points: positions by name, where policies may act
    spans: (name, begin, end) of marked tokens. token_ids: int32 [n_tokens]. token_texts: empty where none are recorded
    query_positions: int64 [n_recorded]"""

    name: str
    n_tokens: int
    decode_start: int
    compression_points: dict[str, int]
    spans: list[tuple[str, int, int]]
    token_ids: np.ndarray = field(repr=False)
    token_texts: list[str] = field(repr=False)
    query_positions: np.ndarray = field(repr=False)
    layers: list[TraceLayer] = field(repr=False)

    def layer(self, index: int) -> TraceLayer:
        """By the model's number. Throws UsageError for one that is not recorded."""
        for layer in self.layers:
            if layer.index == index:
                return layer
        raise UsageError(unknown_name("layer", index, [layer.index for layer in self.layers]))


@dataclass(frozen=True)
class Trace:
    """What a model's attention saw. Pickles as what it says here; arrays are read from the file.

    layers: recorded ones, of n_layers of the model"""

    path: Path
    model_id: str
    creator: str
    n_layers: int
    layers: list[int]
    n_q_heads: int
    n_kv_heads: int
    head_dim: int
    value_dim: int
    softmax_scale: float
    samples: list[TraceSample]

    def sample(self, name: str) -> TraceSample:
        """Throws UsageError, with the nearest, for a name that the trace does not have."""
        for sample in self.samples:
            if sample.name == name:
                return sample
        raise UsageError(unknown_name("sample", name, [sample.name for sample in self.samples]))

    def __fspath__(self) -> str:
        """Goes wherever a path goes: kvreplay.replay(trace)."""
        return str(self.path)

    def __repr__(self) -> str:
        return "\n".join(printable(line) for line in self._lines())

    def _repr_html_(self) -> str:
        head, *lines = (html.escape(printable(line)) for line in self._lines())
        return f"<pre><b>{head}</b>\n" + "\n".join(lines) + "</pre>"

    def _lines(self) -> list[str]:
        lines = [
            f"Trace {self.path.name}: {self.model_id}, {len(self.layers)} of {self.n_layers} layers, {self.n_q_heads} query "
            f"heads on {self.n_kv_heads} KV heads of {self.head_dim}"
        ]
        for sample in self.samples[:10]:
            points = ", ".join(f"{name} {position}" for name, position in sample.compression_points.items())
            decoded = sample.n_tokens - sample.decode_start
            lines.append(
                f"  {sample.name}: {sample.decode_start} tokens and {decoded} decoded; points {points or 'none'}"
            )
        rest = len(self.samples) - 10
        return lines if rest <= 0 else [*lines, f"  and {rest} more"]


def open_trace(path: PathLike) -> Trace:
    """Checks a trace, and reads all but its arrays.

        layer = kvreplay.open_trace("trace.h5").samples[0].layer(3)
        layer.keys      # float32 [n_kv_heads, n_tokens, head_dim]

    Throws InputError for a file that is broken or no trace."""
    path = Path(os.path.abspath(path_word(path)))
    with open_inspected(path) as file:
        kind, version = str(file.attrs.get("format", "")), str(file.attrs.get("format_version", ""))
        if kind != "kvreplay-trace" or version.split(".")[0] != "1":
            raise InputError(f"{path}: format '{kind}' {version}, expected kvreplay-trace 1.x")
        try:
            return _trace(path, file)
        except (KeyError, ValueError, TypeError) as error:
            raise InputError(f"{path}: not a whole trace: {first_line(error)}") from error


def _trace(path: Path, file: h5py.File) -> Trace:
    root = file.attrs
    layers = [int(layer) for layer in root["layers"]]
    windows = {layer: int(file[f"model/layers/{layer:02d}"].attrs["sliding_window"]) for layer in layers}
    names = sorted(file["samples"], key=int)
    return Trace(
        path=path,
        model_id=str(root["model_id"]),
        creator=str(root["creator"]),
        layers=layers,
        softmax_scale=float(root["softmax_scale"]),
        samples=[_sample(path, file["samples"][name], windows) for name in names],
        **{name: int(root[name]) for name in ("n_layers", "n_q_heads", "n_kv_heads", "head_dim", "value_dim")},
    )


def _sample(path: Path, group: h5py.Group, windows: dict[int, int]) -> TraceSample:
    name = str(group.attrs["name"])
    points, spans = group["compression_points"], group.get("spans")
    ranges = np.asarray(group["query_ranges"][()], dtype=np.int64).reshape(-1, 2)
    return TraceSample(
        name=name,
        n_tokens=int(group.attrs["n_tokens"]),
        decode_start=int(group.attrs["decode_start"]),
        compression_points=dict(zip(_texts(points["name"]), map(int, points["position"][()]))),
        spans=[]
        if spans is None
        else list(zip(_texts(spans["name"]), *(map(int, spans[at][()]) for at in ("begin", "end")))),
        token_ids=group["token_ids"][()],
        token_texts=_texts(group["token_texts"]) if "token_texts" in group else [],
        query_positions=np.concatenate([np.arange(begin, end) for begin, end in ranges] or [np.zeros(0, np.int64)]),
        layers=[
            TraceLayer(path, name, f"{group.name.lstrip('/')}/layers/{layer:02d}", layer, window)
            for layer, window in windows.items()
        ],
    )


def _texts(dataset: h5py.Dataset) -> list[str]:
    return list(dataset.asstr()[()]) if dataset.shape[0] else []


def _as_float32(dataset: h5py.Dataset) -> np.ndarray:
    kind = dataset.id.get_type()
    if kind.get_size() == 2 and kind.get_ebias() == 127:  # bfloat16, which NumPy lacks: the upper half of a float32
        bits = np.empty(dataset.shape, dtype=np.uint16)
        dataset.id.read(h5py.h5s.ALL, h5py.h5s.ALL, bits, mtype=kind)
        return (bits.astype(np.uint32) << 16).view(np.float32)
    return dataset[()].astype(np.float32, copy=False)
