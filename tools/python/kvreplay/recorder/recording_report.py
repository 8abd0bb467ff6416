"""What a recording says on stdout about what it stored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .probe_plan import ProbePlan
from .sample_plan import SamplePlan
from .sensitivity_plan import SensitivityPlan


@dataclass
class TensorSummary:
    """One tensor of a sample, over all layers."""

    n_bytes: int = 0
    largest: float = 0.0  # magnitude
    layer: int = 0  # where it is

    def add(self, n_bytes: int, largest: float, layer: int) -> None:
        self.n_bytes += n_bytes
        if largest > self.largest:
            self.largest, self.layer = largest, layer


def describe_sample(
    plan: SamplePlan, tensors: dict[str, TensorSummary], eos_masked_at: int | None, answer: str, seconds: float
) -> str:
    lines = [
        f"{plan.name}: {plan.decode_start} prompt and {plan.n_decode} decoded tokens in {seconds:.1f} s, "
        f"queries at {plan.n_recorded} positions"
    ]
    if plan.spans:
        lines.append("  spans: " + ", ".join(f"{span.name} [{span.begin}, {span.end})" for span in plan.spans))
    if plan.compression_points:
        points = ", ".join(f"{name} {position}" for name, position in plan.compression_points)
        lines.append(f"  compression points: {points}")
    lines += _describe_tensors(tensors)
    if eos_masked_at is not None:
        lines.append(f"  the model wanted to end at position {eos_masked_at}; its end token was masked from there on")
    if plan.n_decode:
        lines.append(f"  decoded: {answer!r}")
    return "\n".join(lines)


def describe_probe(plan: SamplePlan, probe: ProbePlan, tensors: dict[str, TensorSummary], seconds: float) -> str:
    n_passes = len(probe.passes)
    passes = "1 pass" if n_passes == 1 else f"{n_passes} passes"
    repeated = f"[{probe.passes[0].context[0]}, {probe.passes[-1].context[1]})"
    head = f"{plan.name}, probe at {probe.point}: repeats {repeated} in {passes}, {probe.n_rows} tokens"
    return "\n".join([f"{head} in {seconds:.1f} s", *_describe_tensors(tensors)])


def describe_sensitivity(
    plan: SamplePlan, sensitivity: SensitivityPlan, perturbed_kl: list[float], n_bytes: int, seconds: float
) -> str:
    by_level: dict[float, list[float]] = {}
    for level, kl in zip(sensitivity.levels, perturbed_kl):
        by_level.setdefault(level, []).append(kl)
    dropped = ", ".join(
        f"{sum(values) / len(values):.3g} with {level:.0%} dropped" for level, values in by_level.items() if level > 0
    )
    return (
        f"{plan.name}, sensitivity at {sensitivity.point}: {sensitivity.n_sketches} sketches over "
        f"{sensitivity.n_queries} queries, {int(sensitivity.target_mask.sum())} scored, in {seconds:.1f} s\n"
        f"  gradients: {_megabytes(n_bytes)}; KL of the perturbed passes in nats: {dropped}"
    )


def _describe_tensors(tensors: dict[str, TensorSummary]) -> list[str]:
    return [
        f"  {name}: {_megabytes(tensor.n_bytes)}, largest magnitude {tensor.largest:.4g} in layer {tensor.layer}"
        for name, tensor in tensors.items()
    ]


def describe_trace(path: Path, facts, n_samples: int, dtype: str) -> str:
    """`facts`: ModelFacts, whose module needs torch."""
    samples = f"{n_samples} sample" if n_samples == 1 else f"{n_samples} samples"
    layers = ranges_text([layer.index for layer in facts.layers])
    return (
        f"{path}: {_megabytes(path.stat().st_size)}, {samples}, layers {layers} of {facts.n_layers}, "
        f"{facts.n_q_heads} query and {facts.n_kv_heads} KV heads of {facts.head_dim}, {dtype}"
    )


def ranges_text(numbers: list[int]) -> str:
    """Ascending numbers as "0-3,7"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.2f} MB"
