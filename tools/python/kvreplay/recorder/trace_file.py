"""Writes a kvreplay trace, format version 1.3 (docs/formats/trace.md), by h5py."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

import h5py
import numpy as np
import torch

from .. import VERSION
from ..common.errors import InputError
from ..common.model_survey import LayerFacts, ModelFacts, projection_weight
from ..common.rotary_embedding import Rope
from .layer_buffers import LayerBuffers
from .probe_plan import ProbePlan
from .sample_plan import SamplePlan
from .sensitivity_plan import SensitivityPlan
from .sensitivity_rows import SensitivityRows

FORMAT_VERSION = "1.3"
CHUNK_BYTES = 256 * 1024  # of one head's rows; the default chunk cache of a reader holds a few
TEXT = h5py.string_dtype("utf-8")


class TraceFile:
    """A trace under its temporary name, which commit() turns into its real one.

    A context manager: what was not committed is removed.
    """

    def __init__(self, path: Path, dtype: torch.dtype, gzip: bool):
        self.path = path
        self.dtype = dtype
        self._temporary = path.with_name(path.name + ".tmp")
        self._gzip = gzip
        # Files of version 1.10 at most: newer ones are closed to the libraries that Linux distributions carry.
        self._file = h5py.File(self._temporary, "w", libver=("earliest", "v110"))

    def __enter__(self) -> TraceFile:
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

    def write_model(self, facts: ModelFacts, model_id: str, model_config: str) -> None:
        """The root's attributes and the groups of the model's layers, with W_O where the survey found it."""
        import transformers

        libraries = f"transformers {transformers.__version__}, torch {torch.__version__}"
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        _set_attributes(
            self._file,
            {
                "format": "kvreplay-trace",
                "format_version": FORMAT_VERSION,
                "creator": f"kvreplay-record {VERSION} ({libraries})",
                "created": now,
                "model_id": model_id,
                "model_config": model_config,
                "n_layers": facts.n_layers,
                "layers": np.array([layer.index for layer in facts.layers], dtype=np.int64),
                "n_q_heads": facts.n_q_heads,
                "n_kv_heads": facts.n_kv_heads,
                "head_dim": facts.head_dim,
                "value_dim": facts.value_dim,
                "hidden_size": facts.hidden_size,
                "softmax_scale": facts.softmax_scale,
                "logit_softcap": facts.logit_softcap,
                "rope_layout": facts.rope.layout if facts.rope else "none",
                "rope_attention_scaling": facts.rope.attention_scaling if facts.rope else 1.0,
            },
        )
        if facts.rope:
            self._file["rope_inv_freq"] = facts.rope.inv_freq.numpy()
        for layer in facts.layers:
            self._write_model_layer(layer, facts.rope)

    def _write_model_layer(self, layer: LayerFacts, model_rope: Rope | None) -> None:
        group = self._file.create_group(f"model/layers/{layer.index:02d}")
        _set_attributes(group, {"sliding_window": layer.sliding_window})
        if layer.rope is not None and model_rope is not None and not layer.rope.same_as(model_rope):
            group["rope_inv_freq"] = layer.rope.inv_freq.numpy()
            _set_attributes(group, {"rope_attention_scaling": layer.rope.attention_scaling})
        if layer.projection is not None:
            self._write_tensor(
                group, "output_projection", self._to_storage(projection_weight(layer.projection), layer.index)
            )

    def write_sample(
        self,
        index: int,
        plan: SamplePlan,
        token_ids: list[int],
        token_texts: list[str],
        forward_begins: list[int],
        eos_masked_at: int | None = None,
        token_source: str = "greedy",
    ) -> None:
        """Everything about a sample but its layers; `token_ids` and `token_texts` [n_tokens], no texts where there is no
        tokenizer."""
        group = self._file.create_group(f"samples/{index:04d}")
        _set_attributes(
            group,
            {
                "name": plan.name,
                "n_tokens": plan.n_tokens,
                "decode_start": plan.decode_start,
                "token_source": token_source,
            },
        )
        if eos_masked_at is not None:
            _set_attributes(group, {"eos_masked_at": eos_masked_at})
        group["token_ids"] = np.array(token_ids, dtype=np.int32)
        if token_texts:
            # HDF5 strings end at a NUL, which byte-level tokenizers have a token for: its visible symbol stands for it.
            texts = [text.replace("\0", "\u2400") for text in token_texts]
            group.create_dataset("token_texts", data=texts, dtype=TEXT)
        group["forward_begins"] = np.array(forward_begins, dtype=np.int64)
        group["query_ranges"] = np.array(plan.query_ranges, dtype=np.int64).reshape(-1, 2)
        if plan.spans:
            spans = group.create_group("spans")
            spans.create_dataset("name", data=[span.name for span in plan.spans], dtype=TEXT)
            spans["begin"] = np.array([span.begin for span in plan.spans], dtype=np.int64)
            spans["end"] = np.array([span.end for span in plan.spans], dtype=np.int64)
        points = group.create_group("compression_points")
        points.create_dataset(
            "name",
            data=[name for name, _ in plan.compression_points],
            dtype=TEXT,
            shape=(len(plan.compression_points),),
        )
        points["position"] = np.array([position for _, position in plan.compression_points], dtype=np.int64)

    def write_layer(self, index: int, layer: int, buffers: LayerBuffers) -> dict[str, int]:
        """One layer of a sample; returns the bytes of each tensor before compression."""
        return self._write_buffers(f"samples/{index:04d}/layers/{layer:02d}", buffers)

    def write_probe(self, index: int, probe: ProbePlan) -> None:
        """Everything about a probe of a sample but its layers."""
        group = self._file.create_group(f"samples/{index:04d}/probes/{probe.point}")
        group["chunks"] = np.array([[*each.context, *each.rows] for each in probe.passes], dtype=np.int64)

    def write_probe_layer(self, index: int, probe: ProbePlan, layer: int, buffers: LayerBuffers) -> dict[str, int]:
        """One layer of a probe; returns the bytes of each tensor before compression."""
        return self._write_buffers(f"samples/{index:04d}/probes/{probe.point}/layers/{layer:02d}", buffers)

    def open_sensitivity(
        self, index: int, plan: SensitivityPlan, layers: list[int], n_components: int
    ) -> SensitivityRows:
        """Where the gradients of a sensitivity go as they come; `n_components`: n_q_heads * value_dim."""
        group = self._file.create_group(f"samples/{index:04d}/sensitivity/{plan.point}")
        return SensitivityRows(group, plan, layers, n_components, self._gzip)

    def _write_buffers(self, path: str, buffers: LayerBuffers) -> dict[str, int]:
        group = self._file.create_group(path)
        for name, tensor in buffers.tensors.items():
            self._write_tensor(group, name, tensor)
        if buffers.block_cosine is not None:
            group["block_cosine"] = buffers.block_cosine.numpy()
        return {name: tensor.numel() * tensor.element_size() for name, tensor in buffers.tensors.items()}

    def _to_storage(self, weight: torch.Tensor, layer: int) -> torch.Tensor:
        """W_O in the trace's dtype; InputError when it does not fit."""
        largest = float(weight.abs().max())
        if not largest <= torch.finfo(self.dtype).max:
            raise InputError(f"layer {layer}: output_projection reaches {largest:.6g}, which this --dtype cannot hold")
        return weight.to(self.dtype).cpu()

    def _write_tensor(self, group: h5py.Group, name: str, tensor: torch.Tensor) -> None:
        """Contiguous, or, with gzip, in chunks of one head and about CHUNK_BYTES."""
        tensor = tensor.contiguous()
        options = {}
        if self._gzip:
            rows = min(tensor.shape[-2], max(1, CHUNK_BYTES // (tensor.shape[-1] * tensor.element_size())))
            options = {
                "chunks": (1,) * (tensor.ndim - 2) + (rows, tensor.shape[-1]),
                "compression": "gzip",
                "compression_opts": 1,
                "shuffle": True,
            }
        if self.dtype != torch.bfloat16:
            group.create_dataset(name, data=tensor.numpy(), **options)
            return
        # NumPy has no bfloat16: make the dataset with a type of our own and hand over the bits as they are.
        file_type = bfloat16_type()
        dataset = group.create_dataset(name, shape=tuple(tensor.shape), dtype=h5py.Datatype(file_type), **options)
        dataset.id.write(h5py.h5s.ALL, h5py.h5s.ALL, tensor.view(torch.uint16).numpy(), mtype=file_type)


def bfloat16_type() -> h5py.h5t.TypeFloatID:
    """Little-endian bfloat16: 1 sign, 8 exponent (bias 127) and 7 mantissa bits. HDF5 1.10 knows no such constant."""
    kind = h5py.h5t.IEEE_F32LE.copy()
    kind.set_fields(15, 7, 8, 0, 7)  # positions and sizes: sign, exponent at bit 7 of 8 bits, mantissa at bit 0 of 7
    kind.set_precision(16)
    kind.set_size(2)
    kind.set_ebias(127)
    return kind


def _set_attributes(item, values: dict) -> None:
    for name, value in values.items():
        item.attrs[name] = value


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
