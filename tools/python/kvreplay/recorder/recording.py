"""Records samples: runs the model on each, with its sensitivities and probes, and writes what the attention saw."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ..common.attention_hook import AttentionHook
from ..common.model_survey import ModelFacts
from ..common.rotary_embedding import RotationWitness
from .batch_capture import BatchCapture
from .context_probe import ProbeCapture, run_probe
from .greedy_decode import run_sample
from .probe_plan import ProbePlan
from .progress import RecorderProgress
from .recording_report import TensorSummary, describe_probe, describe_sample, describe_sensitivity
from .sample_capture import SampleCapture, planned_queries
from .sample_plan import SamplePlan
from .sensitivity_passes import SensitivityRun
from .sensitivity_plan import SensitivityPlan
from .trace_file import TraceFile


@dataclass
class Recording:
    """A model under the hook, and the trace that it is recorded into."""

    model: object
    tokenizer: object
    end_ids: set[int]
    facts: ModelFacts
    hook: AttentionHook
    witness: RotationWitness
    trace: TraceFile
    progress: RecorderProgress

    def record(
        self, index: int, plan: SamplePlan, sensitivities: list[SensitivityPlan], probes: list[ProbePlan]
    ) -> None:
        """One sample and what belongs to it; says on stdout what was stored."""
        token_ids, cache = self._record_sample(index, plan)
        for sensitivity in sensitivities:
            self._record_sensitivity(index, plan, sensitivity, token_ids, cache)
        del cache
        for probe in probes:
            self._record_probe(index, plan, probe, token_ids)

    def _record_sample(self, index: int, plan: SamplePlan) -> tuple[list[int], object]:
        """Runs one prompt and writes it, layer by layer. Returns its tokens and its cache."""
        begun = time.monotonic()
        sample = SampleCapture(
            self.facts, self.trace.dtype, self.witness, planned_queries(plan), (plan.n_recorded, plan.n_tokens)
        )
        with BatchCapture(self.facts, self.witness, [sample]) as capture:
            done = 0

            def listen(call) -> None:
                self.progress.layer(plan, done, call.layer, self.facts.n_layers)
                capture.listen(call)

            def tell(now: int) -> None:
                nonlocal done
                done = now
                self.progress.tokens(plan, done)

            self.hook.listener = listen
            decoded = run_sample(self.model, plan, capture, self.end_ids, tell)
        sample.finish()
        token_ids = plan.prompt_ids + decoded.ids
        token_texts = [self.tokenizer.decode([token], clean_up_tokenization_spaces=False) for token in token_ids]
        self.trace.write_sample(index, plan, token_ids, token_texts, sample.forward_begins, decoded.eos_masked_at)
        tensors = write_layers(sample.layers, lambda layer, buffers: self.trace.write_layer(index, layer, buffers))
        answer = self.tokenizer.decode(decoded.ids)
        self.progress.say(describe_sample(plan, tensors, decoded.eos_masked_at, answer, time.monotonic() - begun))
        return token_ids, decoded.cache

    def _record_probe(self, index: int, plan: SamplePlan, probe: ProbePlan, token_ids: list[int]) -> None:
        """Runs the passes of one probe and writes their queries and keys."""
        begun = time.monotonic()
        capture = ProbeCapture(self.facts, probe, self.trace.dtype, self.witness)
        self.hook.listener = capture.listen
        run_probe(self.model, probe, token_ids, capture, lambda done: self.progress.passes(plan, probe, done))
        self.trace.write_probe(index, probe)
        tensors = write_layers(
            capture.layers, lambda layer, buffers: self.trace.write_probe_layer(index, probe, layer, buffers)
        )
        self.progress.say(describe_probe(plan, probe, tensors, time.monotonic() - begun))

    def _record_sensitivity(
        self, index: int, plan: SamplePlan, sensitivity: SensitivityPlan, token_ids: list[int], cache
    ) -> None:
        """Runs the passes of one sensitivity, writing the gradients as they come."""
        begun = time.monotonic()
        rows = self.trace.open_sensitivity(
            index,
            sensitivity,
            [layer.index for layer in self.facts.layers],
            self.facts.n_q_heads * self.facts.value_dim,
        )
        run = SensitivityRun(self.model, self.facts, self.hook, self.witness, sensitivity, token_ids, cache)
        perturbed_kl = run.run(rows.store, lambda done: self.progress.sketches(plan, sensitivity, done, begun))
        n_bytes = rows.finish(perturbed_kl)
        self.progress.say(describe_sensitivity(plan, sensitivity, perturbed_kl, n_bytes, time.monotonic() - begun))


def write_layers(layers: dict, write) -> dict[str, TensorSummary]:
    """Calls `write(layer, buffers)`, which returns the bytes of each tensor, for all layers; empties `layers`."""
    tensors: dict[str, TensorSummary] = {}
    for layer in sorted(layers):
        buffers = layers.pop(layer)  # freed as soon as it is written
        for name, n_bytes in write(layer, buffers).items():
            tensors.setdefault(name, TensorSummary()).add(n_bytes, buffers.largest[name], layer)
    return tensors
