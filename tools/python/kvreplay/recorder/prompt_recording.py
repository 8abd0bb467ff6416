"""Records prompts into one trace: plans every sample before the model is loaded, then runs them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.benchmark_prompts import read_prompts_as
from ..common.errors import InputError, UsageError
from ..common.file_roles import check_outputs
from ..common.program import start_torch
from ..common.prompts import Prompt
from .probe_plan import DEFAULT_CHUNK, ProbePlan, plan_probes, probe_wording
from .progress import RecorderProgress
from .recording_report import describe_trace
from .sample_plan import SamplePlan, plan_sample
from .sensitivity_plan import DECODED_TARGETS, SensitivityPlan, plan_sensitivities

if TYPE_CHECKING:
    from ..common.model_to_run import ModelToRun


def record(options: argparse.Namespace) -> None:
    """Records all prompts of a prompts file into one trace, as the command does."""
    check_options(options)
    prompts = read_prompts_as(options.format, options.prompts, options.allow_text_files_anywhere)
    check_outputs([options.output], [options.prompts, options.model, *files_of(prompts)], options.force)
    with RecorderProgress(quiet=options.quiet) as progress:
        progress.show("loading PyTorch")
        start_torch(options.threads, options.device)
        # Only now what needs it.
        from ..common.model_to_run import ModelOfFiles

        progress.show("loading the model")
        record_prompts(options, prompts, ModelOfFiles(options, options.model_id), progress)


def check_options(options: argparse.Namespace) -> None:
    """Throws UsageError for options that say nothing by themselves."""
    if options.probe_chunk is not None and options.probes == "none":
        raise UsageError("--probe-chunk needs --probes repeat-context")
    if options.sensitivity_targets is not None and not options.sensitivity:
        raise UsageError("--sensitivity-targets needs --sensitivity R")


def files_of(prompts: list[Prompt]) -> list[Path]:
    """That their texts were read from."""
    return [path for prompt in prompts for path in prompt.files]


def record_prompts(
    options: argparse.Namespace, prompts: list[Prompt], source: ModelToRun, progress: RecorderProgress
) -> None:
    """Plans all samples, then runs them. `options`: of the command; of the model `source` alone is asked."""
    import torch

    from ..common.model_loader import end_tokens
    from ..common.model_survey import survey_model
    from ..common.prompt_tokens import without_template
    from ..common.rotary_embedding import RotationWitness
    from .recording import Recording
    from .trace_file import TraceFile

    prompts = [without_template(prompt, source.tokenizer) for prompt in prompts]
    plans = _plan_samples(prompts, source.tokenizer, options, progress.note)
    probes = _plan_probes(prompts, plans, source.tokenizer, options, progress.note)
    sensitivities = _plan_sensitivities(prompts, plans, options, progress.note)

    with TraceFile(options.output, getattr(torch, options.dtype), options.gzip) as trace, source.hooked() as hooked:
        model, hook = hooked
        _refuse_long_samples(plans, probes, prompts, model.config.get_text_config())
        with RotationWitness(model) as witness:
            facts = survey_model(model, hook, witness, options.layers, not options.no_output_projection)
            trace.write_model(facts, source.model_id, source.config_json(model))
            _note_missing_cosine(facts, progress.note)
            end_ids = end_tokens(model, source.tokenizer)
            recording = Recording(model, source.tokenizer, end_ids, facts, hook, witness, trace, progress)
            for index, plan in enumerate(plans):
                recording.record(index, plan, sensitivities[index], probes[index])
        trace.commit()
    progress.say(describe_trace(options.output, facts, len(plans), options.dtype))


def _plan_samples(prompts: list[Prompt], tokenizer, options: argparse.Namespace, note) -> list[SamplePlan]:
    from ..common.prompt_tokens import tokenize_prompt

    plans = [
        plan_sample(prompt, tokenize_prompt(prompt, tokenizer), options.decode, options.query_spans)
        for prompt in prompts
    ]
    for plan in plans:
        if not plan.compression_points:
            note(f"'{plan.name}' has no compression point: nothing is decoded and no span is named context")
    return plans


def _plan_probes(
    prompts: list[Prompt], plans: list[SamplePlan], tokenizer, options: argparse.Namespace, note
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
            note(f"'{plan.name}' has no probe at '{name}': nothing but the chat template lies before it")
    return probes


def _plan_sensitivities(
    prompts: list[Prompt], plans: list[SamplePlan], options: argparse.Namespace, note
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
            note(f"'{plan.name}' has a compression point without sensitivity: {reason}")
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


def _note_missing_cosine(facts, note) -> None:
    without = [str(layer.index) for layer in facts.layers if layer.block is None]
    if without:
        layers = ",".join(without)
        note(f"no block_cosine for layers {layers}: where attention joins the residual stream there is not known")
