"""Writes what the recorder has seen of a model as a kvreplay trace (docs/formats/trace.md)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from .. import VERSION
from ..common.errors import InputError
from ..common.model_survey import ModelFacts, projection_weight
from ..common.rotary_embedding import Rope
from ..common.trace_writer import TracedModel, TracedRope, TracedSample, TraceWriter
from .layer_buffers import LayerBuffers
from .probe_plan import ProbePlan
from .sample_plan import SamplePlan
from .sensitivity_plan import SensitivityPlan
from .sensitivity_rows import SensitivityRows


class TraceFile(TraceWriter):
    """A trace of the recorder."""

    def __init__(self, path: Path, dtype: torch.dtype, gzip: bool):
        super().__init__(path, str(dtype).removeprefix("torch."), gzip)
        self.dtype = dtype

    def write_model(self, facts: ModelFacts, model_id: str, model_config: str) -> None:
        """The root's attributes and the groups of the model's layers, with W_O where the survey found it."""
        import transformers

        libraries = f"transformers {transformers.__version__}, torch {torch.__version__}"
        rope = _traced(facts.rope)
        model = TracedModel(
            model_id=model_id,
            model_config=model_config,
            n_layers=facts.n_layers,
            layers=[layer.index for layer in facts.layers],
            n_q_heads=facts.n_q_heads,
            n_kv_heads=facts.n_kv_heads,
            head_dim=facts.head_dim,
            value_dim=facts.value_dim,
            hidden_size=facts.hidden_size,
            softmax_scale=facts.softmax_scale,
            logit_softcap=facts.logit_softcap,
            rope=rope,
        )
        self.write_root(model, f"kvreplay record {VERSION} ({libraries})")
        for layer in facts.layers:
            projection = None
            if layer.projection is not None:
                projection = _array(self._to_storage(projection_weight(layer.projection), layer.index))
            self.write_model_layer(layer.index, layer.sliding_window, _traced(layer.rope), rope, projection)

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
        sample = TracedSample(
            name=plan.name,
            decode_start=plan.decode_start,
            token_source=token_source,
            token_ids=token_ids,
            query_ranges=plan.query_ranges,
            compression_points=plan.compression_points,
            token_texts=token_texts or None,
            forward_begins=forward_begins,
            eos_masked_at=eos_masked_at,
            spans=[(span.name, span.begin, span.end) for span in plan.spans],
        )
        self.write_sample_root(index, sample)

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
        group = self._write_tensors(path, {name: _array(tensor) for name, tensor in buffers.tensors.items()})
        if buffers.block_cosine is not None:
            group["block_cosine"] = buffers.block_cosine.numpy()
        return {name: tensor.numel() * tensor.element_size() for name, tensor in buffers.tensors.items()}

    def _to_storage(self, weight: torch.Tensor, layer: int) -> torch.Tensor:
        """W_O in the trace's dtype; InputError when it does not fit."""
        largest = float(weight.abs().max())
        if not largest <= torch.finfo(self.dtype).max:
            raise InputError(f"layer {layer}: output_projection reaches {largest:.6g}, which this --dtype cannot hold")
        return weight.to(self.dtype).cpu()


def _array(tensor: torch.Tensor) -> np.ndarray:
    tensor = tensor.contiguous()
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _traced(rope: Rope | None) -> TracedRope | None:
    return None if rope is None else TracedRope(rope.layout, rope.inv_freq.numpy(), rope.attention_scaling)
