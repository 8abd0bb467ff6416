"""Recording prompts from Python."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.file_roles import check_outputs
from ..common.program import torch_threads
from ..common.prompt_forms import prompts_of
from ..recorder.progress import LoggedProgress
from ..recorder.prompt_recording import check_options, files_of, record_prompts
from .recorder_options import NO_PATH, recorder_options
from .words import PathLike, Text, flag, option

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Prompt = str | Mapping[str, object] | Sequence[Mapping[str, object]]


def record(
    model: PathLike | PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    prompts: Prompt | Iterable[Prompt] | os.PathLike,
    output: PathLike,
    *,
    decode: int = 64,
    layers: int | str | Iterable[int | str] | None = None,
    query_spans: Text = "all",
    sensitivity: int = 0,
    sensitivity_targets: str | None = None,
    probes: str = "none",
    probe_chunk: int | None = None,
    dtype: str = "float16",
    gzip: bool = False,
    output_projection: bool = True,
    model_id: str | None = None,
    format: str = "kvreplay",
    allow_text_files_anywhere: bool = False,
    compute_dtype: str = "float32",
    device: str | torch.device = "cpu",
    allow_pickled_weights: bool = False,
    threads: int | None = None,
    force: bool = False,
    progress: bool | None = None,
) -> Path:
    """Runs a model on prompts with its whole cache, decodes greedily, and writes queries, keys and values of its
    attention as a trace (docs/formats/trace.md), as `kvreplay record` does; returns its path.

    model: a causal language model of transformers, which is as it was afterwards; or the path of a folder or a .gguf
        file. Only then compute_dtype, device, threads and allow_pickled_weights count, and tokenizer may be None
    tokenizer: the model's, a fast one
    prompts: a text; a chat, [{"role": ..., "content": ...}]; an object as in a prompts file, with spans and compression
        points; a list of these; or the path (pathlib.Path) of a prompts file, or of a benchmark's file in `format`
    decode: tokens to decode after each prompt
    layers: indices of the layers to record; None for all
    query_spans: prompt positions whose queries are stored: "all", names of spans, "last:N"
    sensitivity: sketches for the metric predicted_kl, 0 for none. sensitivity_targets: "decode", "all" or a span's name
    probes: "none", or "repeat-context", which the scorer kvzip needs. probe_chunk: context tokens of one pass
    dtype: of queries, keys and values in the trace: "float16", "bfloat16" or "float32"
    output_projection: whether W_O is stored
    format: of a file of prompts: "kvreplay", "longbench", "ruler" or "kvpress"
    force: replaces the trace
    progress: True shows it on stderr, False does not; None: where stderr is a terminal. Notes go to the log `kvreplay`

    Throws UsageError where the trace exists or an option cannot be meant, InputError for prompts or models that cannot
    be recorded, MachineError where the trace cannot be written. Nothing half-written is left behind."""
    is_live = not isinstance(model, (str, os.PathLike))
    more = [*option("decode", decode), *option("sensitivity", sensitivity), *option("probes", probes)]
    more += [*option("sensitivity-targets", sensitivity_targets), *option("probe-chunk", probe_chunk)]
    more += [*option("format", format), *option("compute-dtype", compute_dtype), *option("device", device)]
    more += [*option("threads", threads), *flag("allow-pickled-weights", allow_pickled_weights)]
    options = recorder_options(
        output,
        model=NO_PATH if is_live else model,
        layers=layers,
        query_spans=query_spans,
        dtype=dtype,
        gzip=gzip,
        output_projection=output_projection,
        model_id=model_id,
        force=force,
        more=more,
    )
    check_options(options)
    read = prompts_of(prompts, allow_text_files_anywhere, format)
    inputs = [*files_of(read), *([prompts] if isinstance(prompts, os.PathLike) else []), *([] if is_live else [model])]
    check_outputs([options.output], map(Path, inputs), force)

    from ..common.model_to_run import LiveModel, ModelOfFiles, check_tokenizer

    with LoggedProgress(progress) as shown, torch_threads(threads):
        if is_live:
            check_tokenizer(tokenizer)
            source = LiveModel(model, tokenizer, model_id)
        else:
            source = ModelOfFiles(options, model_id)
            source.tokenizer = tokenizer or source.tokenizer
        record_prompts(options, read, source, shown)
    return options.output
