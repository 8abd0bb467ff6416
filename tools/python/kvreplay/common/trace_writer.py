"""Writes kvreplay traces (docs/formats/trace.md) by h5py, out of arrays: what all programs that make traces share."""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

VERSION = "1.3"  # of the format, where a trace holds nothing newer
VERSION_WITHOUT_QUERIES = "1.4"  # samples without queries, or without token ids
UNKNOWN_TOKEN = -1
DTYPES = ("float16", "bfloat16", "float32")
CHUNK_BYTES = 256 * 1024  # of one head's rows; the default chunk cache of a reader holds a few
TEXT = h5py.string_dtype("utf-8")


@dataclass(frozen=True)
class TracedRope:
    """Rotary position embedding, as the format has it."""

    layout: str  # "half" or "interleaved"
    inv_freq: np.ndarray  # float64 [rotary_dim / 2]; zeros for a layer that does not rotate
    attention_scaling: float = 1.0

    def same_as(self, other: TracedRope) -> bool:
        return np.array_equal(self.inv_freq, other.inv_freq) and self.attention_scaling == other.attention_scaling


@dataclass(frozen=True)
class TracedModel:
    """The root of a trace."""

    model_id: str
    model_config: str  # JSON
    n_layers: int
    layers: list[int]  # the recorded ones, ascending
    n_q_heads: int
    n_kv_heads: int
    head_dim: int
    value_dim: int
    hidden_size: int
    softmax_scale: float
    logit_softcap: float
    rope: TracedRope | None


@dataclass(frozen=True)
class TracedSample:
    """A prompt with its answer, without its layers."""

    name: str
    decode_start: int
    token_source: str
    token_ids: Sequence[int]  # [n_tokens], UNKNOWN_TOKEN where nobody knows
    query_ranges: list[tuple[int, int]]  # empty: no queries
    compression_points: list[tuple[str, int]]  # ascending position
    token_texts: Sequence[str] | None = None
    forward_begins: Sequence[int] | None = None
    eos_masked_at: int | None = None
    spans: list[tuple[str, int, int]] = field(default_factory=list)  # name, begin, end; ordered


class TraceWriter:
    """A trace under its temporary name, which commit() turns into its real one.

    A context manager: what was not committed is removed. Tensors are arrays of the trace's dtype, bfloat16 as uint16
    of its bits: NumPy has no such type.
    """

    def __init__(self, path: Path, dtype: str, gzip: bool):
        self.path = path
        self._bfloat16 = dtype == "bfloat16"
        self._temporary = path.with_name(path.name + ".tmp")
        self._gzip = gzip
        # Files of version 1.10 at most: newer ones are closed to the libraries that Linux distributions carry.
        self._file = h5py.File(self._temporary, "w", libver=("earliest", "v110"))

    def __enter__(self) -> TraceWriter:
        return self

    def __exit__(self, *error) -> None:
        if self._file:
            self._file.close()
        self._temporary.unlink(missing_ok=True)

    def commit(self) -> None:
        """Closes the file and makes it appear under its name, also if the machine fails right afterwards."""
        self._file.flush()
        self._file.close()
        _sync(self._temporary)
        os.replace(self._temporary, self.path)
        _sync(self.path.parent)

    def write_root(self, model: TracedModel, creator: str) -> None:
        """The root's attributes."""
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        set_attributes(
            self._file,
            {
                "format": "kvreplay-trace",
                "format_version": VERSION,
                "creator": creator,
                "created": now,
                "model_id": model.model_id,
                "model_config": model.model_config,
                "n_layers": model.n_layers,
                "layers": np.array(model.layers, dtype=np.int64),
                "n_q_heads": model.n_q_heads,
                "n_kv_heads": model.n_kv_heads,
                "head_dim": model.head_dim,
                "value_dim": model.value_dim,
                "hidden_size": model.hidden_size,
                "softmax_scale": model.softmax_scale,
                "logit_softcap": model.logit_softcap,
                "rope_layout": model.rope.layout if model.rope else "none",
                "rope_attention_scaling": model.rope.attention_scaling if model.rope else 1.0,
            },
        )
        if model.rope:
            self._file["rope_inv_freq"] = model.rope.inv_freq

    def write_model_layer(
        self,
        layer: int,
        sliding_window: int,
        rope: TracedRope | None,
        model_rope: TracedRope | None,
        output_projection: np.ndarray | None,
    ) -> None:
        """`output_projection` [n_q_heads * value_dim, hidden_size]."""
        group = self._file.create_group(f"model/layers/{layer:02d}")
        set_attributes(group, {"sliding_window": sliding_window})
        if rope is not None and model_rope is not None and not rope.same_as(model_rope):
            group["rope_inv_freq"] = rope.inv_freq
            set_attributes(group, {"rope_attention_scaling": rope.attention_scaling})
        if output_projection is not None:
            self._write_tensor(group, "output_projection", output_projection)

    def write_sample_root(self, index: int, sample: TracedSample) -> None:
        """Everything about a sample but its layers."""
        group = self._file.create_group(f"samples/{index:04d}")
        set_attributes(
            group,
            {
                "name": sample.name,
                "n_tokens": len(sample.token_ids),
                "decode_start": sample.decode_start,
                "token_source": sample.token_source,
            },
        )
        if sample.eos_masked_at is not None:
            set_attributes(group, {"eos_masked_at": sample.eos_masked_at})
        token_ids = np.array(sample.token_ids, dtype=np.int32)
        group["token_ids"] = token_ids
        if sample.token_texts is not None:
            # HDF5 strings end at a NUL, which byte-level tokenizers have a token for: its visible symbol stands for it.
            texts = [text.replace("\0", "\u2400") for text in sample.token_texts]
            group.create_dataset("token_texts", data=texts, dtype=TEXT)
        if sample.forward_begins is not None:
            group["forward_begins"] = np.array(sample.forward_begins, dtype=np.int64)
        group["query_ranges"] = np.array(sample.query_ranges, dtype=np.int64).reshape(-1, 2)
        if sample.spans:
            spans = group.create_group("spans")
            spans.create_dataset("name", data=[name for name, _, _ in sample.spans], dtype=TEXT)
            spans["begin"] = np.array([begin for _, begin, _ in sample.spans], dtype=np.int64)
            spans["end"] = np.array([end for _, _, end in sample.spans], dtype=np.int64)
        names = [name for name, _ in sample.compression_points]
        points = group.create_group("compression_points")
        points.create_dataset("name", data=names, dtype=TEXT, shape=(len(names),))
        points["position"] = np.array([position for _, position in sample.compression_points], dtype=np.int64)
        if not sample.query_ranges or (token_ids == UNKNOWN_TOKEN).any():
            set_attributes(self._file, {"format_version": VERSION_WITHOUT_QUERIES})

    def write_sample_layer(self, index: int, layer: int, tensors: dict[str, np.ndarray]) -> None:
        """Queries, where there are any, keys and values [heads, n, dim] of one layer of a sample."""
        self._write_tensors(f"samples/{index:04d}/layers/{layer:02d}", tensors)

    def _write_tensors(self, path: str, tensors: dict[str, np.ndarray]) -> h5py.Group:
        group = self._file.create_group(path)
        for name, tensor in tensors.items():
            self._write_tensor(group, name, tensor)
        return group

    def _write_tensor(self, group: h5py.Group, name: str, tensor: np.ndarray) -> None:
        """Contiguous, or, with gzip, in chunks of one head and about CHUNK_BYTES."""
        tensor = np.ascontiguousarray(tensor)
        options = {}
        if self._gzip:
            rows = min(tensor.shape[-2], max(1, CHUNK_BYTES // (tensor.shape[-1] * tensor.itemsize)))
            options = {
                "chunks": (1,) * (tensor.ndim - 2) + (rows, tensor.shape[-1]),
                "compression": "gzip",
                "compression_opts": 1,
                "shuffle": True,
            }
        if not self._bfloat16:
            group.create_dataset(name, data=tensor, **options)
            return
        # NumPy has no bfloat16: make the dataset with a type of our own and hand over the bits as they are.
        file_type = bfloat16_type()
        dataset = group.create_dataset(name, shape=tensor.shape, dtype=h5py.Datatype(file_type), **options)
        dataset.id.write(h5py.h5s.ALL, h5py.h5s.ALL, tensor, mtype=file_type)


def bfloat16_type() -> h5py.h5t.TypeFloatID:
    """Little-endian bfloat16: 1 sign, 8 exponent (bias 127) and 7 mantissa bits. HDF5 1.10 knows no such constant."""
    kind = h5py.h5t.IEEE_F32LE.copy()
    kind.set_fields(15, 7, 8, 0, 7)  # positions and sizes: sign, exponent at bit 7 of 8 bits, mantissa at bit 0 of 7
    kind.set_precision(16)
    kind.set_size(2)
    kind.set_ebias(127)
    return kind


def set_attributes(item, values: dict) -> None:
    for name, value in values.items():
        item.attrs[name] = value


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
