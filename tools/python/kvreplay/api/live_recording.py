"""Recording what a program of the user's own does with a model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.file_roles import check_outputs
from .recorder_options import recorder_options
from .words import PathLike, Text

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ..recorder.live_recording import LiveRecording


class RecordingHandle:
    """What `with kvreplay.recording(...) as handle` gives."""

    def __init__(self, path: Path, live: LiveRecording):
        self.path = path  # of the trace, which is there after the block
        self._live = live
        self._n_marks = 0

    @property
    def n_samples(self) -> int:
        """Samples that are written already; they lie on the disk and not in memory."""
        return self._live.n_samples

    def mark(
        self,
        prompt: str | Mapping[str, object] | Sequence[Mapping[str, object]] | None = None,
        *,
        name: str | None = None,
        spans: Sequence[Mapping[str, object]] | None = None,
        compression_points: Mapping[str, int | str] | None = None,
    ) -> None:
        """Says what the next sequence is; several calls are for the next ones, and the rows of a batch, in order.

        prompt: a text, a chat or an object as in a prompts file, with its spans; the model has to read just its tokens.
            None: the text is that of the tokens that it reads, decoded, special tokens included
        name: of the sample; default: sample-1, sample-2, ... after its place in the trace
        spans: {"name": N, "text": a quote that occurs once}, {"name": N, "begin": b, "end": e} in characters of the
            prompt, or {"name": N, "tokens": [b, e]} in positions of its tokens. A span `context` makes a compression point
        compression_points: name -> position in tokens, or the name of a span whose end it is

        Throws InputError for marks that are broken (whether they fit the tokens shows when these were read), UsageError
        for a name that is taken."""
        from ..recorder.sequence_marks import SequenceMark

        self._n_marks += 1
        self._live.mark(SequenceMark.of(f"mark {self._n_marks}", prompt, name, spans, compression_points))


@contextlib.contextmanager
def recording(
    model: PreTrainedModel,
    output: PathLike,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    layers: int | str | Iterable[int | str] | None = None,
    query_spans: Text = "all",
    dtype: str = "float16",
    gzip: bool = False,
    output_projection: bool = True,
    model_id: str | None = None,
    force: bool = False,
) -> Iterator[RecordingHandle]:
    """Records what the model's attention sees in this block, whoever runs it: generate(), a pipeline, forward passes.

        with kvreplay.recording(model, "t.h5", tokenizer=tokenizer) as handle:
            handle.mark(text, spans=[{"name": "question", "text": "What is the code?"}])
            model.generate(**tokenizer(text, return_tensors="pt"), do_sample=True)

    Each sequence that begins with an empty cache becomes a sample, and so does each row of a batch; what its
    attention_mask leaves out is padding. The prompt ends with the last pass of several tokens. A sample is written when
    its sequence has ended: when generate() returns, the next sequence begins, or the block ends.

    model: a causal language model of transformers; its attention is put back afterwards, also after an exception
    output: the trace. It appears when the block ends without an exception; otherwise nothing is left behind
    tokenizer: writes the tokens' texts, and finds spans of characters
    layers: indices of the layers to record; None for all
    query_spans: prompt positions whose queries are stored: "all", names of marked spans, "last:N"; those of decoded
        tokens always are
    dtype: of queries, keys and values in the trace: "float16", "bfloat16" or "float32". gzip: compresses them
    output_projection: whether W_O is stored
    force: replaces the trace

    Where the cache is evicted or altered (`with press(model)` of kvpress) the sample ends with the tokens before that,
    and a warning in the log `kvreplay` says so.

    Throws UsageError where the trace exists, an option cannot be meant, or the model was not run; InputError, inside the
    block, for what a trace cannot hold: beams, assisted decoding, static caches, inputs_embeds, masks of other shapes,
    padding that positions count, values beyond the dtype, and models that `kvreplay.record` refuses."""
    options = recorder_options(
        output,
        layers=layers,
        query_spans=query_spans,
        dtype=dtype,
        gzip=gzip,
        output_projection=output_projection,
        model_id=model_id,
        force=force,
    )
    check_outputs([options.output], [], force)
    import torch

    from ..common.model_survey import survey_model
    from ..common.model_to_run import LiveModel
    from ..common.rotary_embedding import RotationWitness
    from ..recorder.live_recording import LiveRecording
    from ..recorder.trace_file import TraceFile

    source = LiveModel(model, tokenizer, model_id)
    with TraceFile(options.output, getattr(torch, dtype), gzip) as trace:
        with source.hooked() as (_, hook), RotationWitness(model) as witness:
            facts = survey_model(model, hook, witness, options.layers, output_projection)
            trace.write_model(facts, source.model_id, source.config_json(model))
            with LiveRecording(model, tokenizer, facts, hook, witness, trace, options.query_spans) as live:
                yield RecordingHandle(options.output, live)
                live.finish()
        trace.commit()
