"""Records the attention of a Hugging Face causal language model as a kvreplay trace.

    kvreplay-record --model MODEL --prompts FILE.jsonl --output trace.h5

The model reads each prompt with its whole cache and decodes an answer; queries, keys and values of the chosen layers
are stored as the attention saw them. A trace has the format of traces/SCHEMA.md.
"""

from __future__ import annotations

import argparse
import sys
import time

from .common.errors import InputError, UsageError
from .common.program import (
    check_output,
    clear_progress,
    run_program,
    start_torch,
    stop_cleanly_on_terminate,
)
from .common.prompts import Prompt, read_prompts
from .recorder.command_line import PROGRAM, build_parser
from .recorder.probe_plan import DEFAULT_CHUNK, ProbePlan, plan_probes, probe_wording
from .recorder.recording_report import (
    TensorSummary,
    describe_probe,
    describe_sample,
    describe_sensitivity,
    describe_trace,
)
from .recorder.sample_plan import SamplePlan, plan_sample
from .recorder.sensitivity_plan import DECODED_TARGETS, SensitivityPlan, plan_sensitivities


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code. Every error is one line on stderr."""
    return run_program(PROGRAM, lambda: record(build_parser().parse_args(arguments)))


def command() -> int:
    """The console script."""
    stop_cleanly_on_terminate()
    return main()


def record(options: argparse.Namespace) -> None:
    """Records all prompts into one trace."""
    if options.probe_chunk is not None and options.probes == "none":
        raise UsageError("--probe-chunk needs --probes repeat-context")
    if options.sensitivity_targets is not None and not options.sensitivity:
        raise UsageError("--sensitivity-targets needs --sensitivity R")
    prompts = read_prompts(options.prompts)
    check_output(options.output, options.force)

    start_torch(options.threads, options.device)
    # Only now what needs it.
    import torch

    from .common.attention_hook import ATTENTION_NAME, AttentionHook
    from .common.model_loader import end_tokens, load_model, model_config_json, open_model
    from .common.model_survey import survey_model
    from .common.rotary_embedding import RotationWitness
    from .recorder.trace_file import TraceFile

    source = open_model(options.model, options.model_id)
    plans = _plan_samples(prompts, source.tokenizer, options)
    probes = _plan_probes(prompts, plans, source.tokenizer, options)
    sensitivities = _plan_sensitivities(prompts, plans, options)

    with TraceFile(options.output, getattr(torch, options.dtype), options.gzip) as trace:
        hook = AttentionHook()
        hook.register()
        model = load_model(source, ATTENTION_NAME, options.compute_dtype, options.device)
        _refuse_long_samples(plans, probes, prompts, model.config.get_text_config())
        with RotationWitness(model) as witness:
            facts = survey_model(model, hook, witness, options.layers, not options.no_output_projection)
            trace.write_model(facts, source.model_id, model_config_json(source, model))
            _note_missing_cosine(facts)
            end_ids = end_tokens(model, source.tokenizer)
            for index, plan in enumerate(plans):
                token_ids, cache = _record_sample(
                    index, plan, model, facts, hook, witness, trace, source.tokenizer, end_ids
                )
                for each in sensitivities[index]:
                    _record_sensitivity(index, plan, each, token_ids, cache, model, facts, hook, witness, trace)
                del cache
                for probe in probes[index]:
                    _record_probe(index, plan, probe, token_ids, model, facts, hook, witness, trace)
        trace.commit()
    print(describe_trace(options.output, facts, len(plans), options.dtype))


def _plan_samples(prompts: list[Prompt], tokenizer, options: argparse.Namespace) -> list[SamplePlan]:
    from .common.prompt_tokens import tokenize_prompt

    plans = [
        plan_sample(prompt, tokenize_prompt(prompt, tokenizer), options.decode, options.query_spans)
        for prompt in prompts
    ]
    for plan in plans:
        if not plan.compression_points:
            _note(f"'{plan.name}' has no compression point: nothing is decoded and no span is named context")
    return plans


def _plan_probes(
    prompts: list[Prompt], plans: list[SamplePlan], tokenizer, options: argparse.Namespace
) -> list[list[ProbePlan]]:
    """The probes of each sample."""
    if options.probes == "none":
        return [[] for _ in plans]
    chunk = options.probe_chunk or DEFAULT_CHUNK
    probes = [
        plan_probes(plan, probe_wording(tokenizer, is_chat=prompt.messages is not None), chunk)
        for plan, prompt in zip(plans, prompts)
    ]
    for plan, planned in zip(plans, probes):
        for name in (name for name, _ in plan.compression_points if name not in {probe.point for probe in planned}):
            _note(f"'{plan.name}' has no probe at '{name}': nothing but the chat template lies before it")
    return probes


def _plan_sensitivities(
    prompts: list[Prompt], plans: list[SamplePlan], options: argparse.Namespace
) -> list[list[SensitivityPlan]]:
    """The sensitivities of each sample."""
    if not options.sensitivity:
        return [[] for _ in plans]
    targets = options.sensitivity_targets or DECODED_TARGETS
    sensitivities = []
    for plan, prompt in zip(plans, prompts):
        planned, reasons = plan_sensitivities(plan, options.sensitivity, targets, prompt.where)
        sensitivities.append(planned)
        for reason in reasons:
            _note(f"'{plan.name}' has a compression point without sensitivity: {reason}")
    return sensitivities


def _refuse_long_samples(plans: list[SamplePlan], probes: list[list[ProbePlan]], prompts: list[Prompt], config) -> None:
    limit = getattr(config, "max_position_embeddings", None)
    for plan, planned, prompt in zip(plans, probes, prompts):
        if limit and plan.n_tokens > limit:
            raise InputError(
                f"{prompt.where}: '{plan.name}' has {plan.decode_start} tokens, with {plan.n_decode} to decode "
                f"{plan.n_tokens}; the model has {limit} positions"
            )
        for probe in planned:
            if limit and probe.n_positions > limit:
                raise InputError(
                    f"{prompt.where}: '{plan.name}' needs {probe.n_positions} positions for the probe at "
                    f"'{probe.point}' ({probe.position}), the model has {limit}; a smaller --probe-chunk needs fewer"
                )


def _note_missing_cosine(facts) -> None:
    without = [str(layer.index) for layer in facts.layers if layer.block is None]
    if without:
        layers = ",".join(without)
        _note(f"no block_cosine for layers {layers}: where attention joins the residual stream there is not known")


def _note(message: str) -> None:
    print(f"{PROGRAM}: note: {message}", file=sys.stderr)


def _record_sample(
    index: int, plan: SamplePlan, model, facts, hook, witness, trace, tokenizer, end_ids: set[int]
) -> tuple[list[int], object]:
    """Runs one prompt and writes it, layer by layer; says what was stored. Returns its tokens and its cache."""
    from .recorder.greedy_decode import run_sample
    from .recorder.sample_capture import SampleCapture

    begun = time.monotonic()
    with SampleCapture(facts, plan, trace.dtype, witness) as capture:
        hook.listener = capture.listen
        decoded = run_sample(model, plan, capture, end_ids, lambda done: _show_progress(plan, done))
    clear_progress()
    token_ids = plan.prompt_ids + decoded.ids
    token_texts = [tokenizer.decode([token], clean_up_tokenization_spaces=False) for token in token_ids]
    trace.write_sample(index, plan, token_ids, token_texts, decoded.eos_masked_at)
    tensors = _write_layers(capture.layers, lambda layer, buffers: trace.write_layer(index, layer, buffers))
    seconds = time.monotonic() - begun
    print(describe_sample(plan, tensors, decoded.eos_masked_at, tokenizer.decode(decoded.ids), seconds))
    return token_ids, decoded.cache


def _record_probe(
    index: int, plan: SamplePlan, probe: ProbePlan, token_ids: list[int], model, facts, hook, witness, trace
) -> None:
    """Runs the passes of one probe and writes their queries and keys; says on stdout what was stored."""
    from .recorder.context_probe import ProbeCapture, run_probe

    begun = time.monotonic()
    capture = ProbeCapture(facts, probe, trace.dtype, witness)
    hook.listener = capture.listen
    run_probe(model, probe, token_ids, capture, lambda done: _show_probe_progress(plan, probe, done))
    clear_progress()
    trace.write_probe(index, probe)
    tensors = _write_layers(
        capture.layers, lambda layer, buffers: trace.write_probe_layer(index, probe, layer, buffers)
    )
    print(describe_probe(plan, probe, tensors, time.monotonic() - begun))


def _record_sensitivity(
    index: int,
    plan: SamplePlan,
    sensitivity: SensitivityPlan,
    token_ids: list[int],
    cache,
    model,
    facts,
    hook,
    witness,
    trace,
) -> None:
    """Runs the passes of one sensitivity, writing the gradients as they come; says on stdout what was stored."""
    from .recorder.sensitivity_passes import SensitivityRun

    begun = time.monotonic()
    rows = trace.open_sensitivity(
        index, sensitivity, [layer.index for layer in facts.layers], facts.n_q_heads * facts.value_dim
    )
    run = SensitivityRun(model, facts, hook, witness, sensitivity, token_ids, cache)
    perturbed_kl = run.run(rows.store, lambda done: _show_sensitivity_progress(plan, sensitivity, done, begun))
    clear_progress()
    n_bytes = rows.finish(perturbed_kl)
    print(describe_sensitivity(plan, sensitivity, perturbed_kl, n_bytes, time.monotonic() - begun))


def _write_layers(layers: dict, write) -> dict[str, TensorSummary]:
    """Calls `write(layer, buffers)`, which returns the bytes of each tensor, for all layers; empties `layers`."""
    tensors: dict[str, TensorSummary] = {}
    for layer in sorted(layers):
        buffers = layers.pop(layer)  # freed as soon as it is written
        for name, n_bytes in write(layer, buffers).items():
            tensors.setdefault(name, TensorSummary()).add(n_bytes, buffers.largest[name], layer)
    return tensors


def _show_progress(plan: SamplePlan, done: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{plan.name}: {done} of {plan.n_tokens} tokens", end="", file=sys.stderr, flush=True)


def _show_probe_progress(plan: SamplePlan, probe: ProbePlan, done: int) -> None:
    if sys.stderr.isatty():
        text = f"{plan.name}: probe at {probe.point}, {done} of {len(probe.passes)} chunks"
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def _show_sensitivity_progress(plan: SamplePlan, sensitivity: SensitivityPlan, done: int, begun: float) -> None:
    """The first sketch tells how long all will take, and that is said wherever stderr goes."""
    seconds = time.monotonic() - begun
    remaining = seconds / done * (sensitivity.n_sketches - done)
    if done == 1:
        clear_progress()
        _note(
            f"'{plan.name}': {sensitivity.n_sketches} sketches of its sensitivity at '{sensitivity.point}' take about "
            f"{seconds + remaining:.0f} s"
        )
    if sys.stderr.isatty():
        text = f"{plan.name}: sensitivity at {sensitivity.point}, {done} of {sensitivity.n_sketches} sketches"
        print(f"\r\033[K{text}, {remaining:.0f} s left", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(command())
