"""Records what a user's own program runs a model on: each sequence becomes a sample as soon as it has ended."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch

from ..common.attention_hook import AttentionCall, AttentionHook
from ..common.errors import InputError, UsageError
from ..common.model_survey import ModelFacts
from ..common.prompt_tokens import PromptTokens
from ..common.prompts import Prompt
from ..common.rotary_embedding import RotationWitness
from .forward_call import ForwardCall, ForwardReader
from .generate_guard import NO_ENDS, AnswerEnds, guarded_generate
from .live_sequences import LiveSequences
from .recording import write_layers
from .sample_capture import ChosenQueries
from .sample_plan import LAST_TOKENS, plan_sample
from .sequence_marks import SequenceMark
from .trace_file import TraceFile

LOG = logging.getLogger("kvreplay")


@dataclass
class LiveRecording:
    """A model under the hook, between open() and close(). Nothing is computed that the user's program does not compute.

    query_spans: the items of --query-spans
    """

    model: torch.nn.Module
    tokenizer: object
    facts: ModelFacts
    hook: AttentionHook
    witness: RotationWitness
    trace: TraceFile
    query_spans: list[str]

    def __post_init__(self):
        self.n_samples = 0
        self._names: set[str] = set()
        self._failure: BaseException | None = None
        self._marks: list[SequenceMark] = []
        self._sequences: LiveSequences | None = None
        self._ends = NO_ENDS  # of the generate() that runs
        self._reader = ForwardReader(self.model.base_model)
        self._stack = ExitStack()

    def __enter__(self) -> LiveRecording:
        """Hooks the forward passes of the model, and its generate()."""
        base = self.model.base_model  # which some programs call by itself
        self.hook.listener = self._listen
        for handle in (
            base.register_forward_pre_hook(self._begin_pass, with_kwargs=True),
            base.register_forward_hook(self._end_pass),
            self.model.register_forward_hook(self._see_logits),
        ):
            self._stack.callback(handle.remove)
        self._stack.enter_context(guarded_generate(self.model, self._generate_starts, self._generate_ends))
        return self

    def __exit__(self, *error) -> None:
        if self._sequences is not None:
            self._sequences.capture.__exit__()
            self._sequences = None
        self._stack.close()

    def mark(self, mark: SequenceMark) -> None:
        """About the next sequence that has no mark. Throws UsageError for a name that is taken."""
        pending = [] if self._sequences is None else self._sequences.marks
        taken = self._names | {other.name for other in [*self._marks, *pending] if other is not None}
        if mark.name is not None and mark.name in taken:
            raise UsageError(f"{mark.where}: the name '{mark.name}' is already taken by another sample")
        self._marks.append(mark)

    def finish(self) -> None:
        """Writes what was not written yet. Throws UsageError where the model was not run, or where an error was passed
        over that left a sample incomplete."""
        if self._failure is not None:
            raise UsageError(f"an error inside of recording() was passed over: {self._failure}") from self._failure
        self._write_sequences()
        if self.n_samples == 0:
            raise UsageError("the model was not run inside of recording(): there is nothing to record")
        for mark in self._marks:
            LOG.warning("%s: there was no sequence for it", mark.where)

    @contextmanager
    def _working(self) -> Iterator[None]:
        """Our part of a pass: without gradients, and what fails here must not be passed over."""
        try:
            with torch.no_grad():
                yield
        except BaseException as error:
            self._failure = error
            raise

    def _begin_pass(self, module, args, kwargs) -> None:
        with self._working():
            call = self._reader.read(args, kwargs)
            if call.n_cached == 0:
                self._start_sequences(call)
            elif self._sequences is None or self._sequences.cache is not call.cache:
                raise InputError(
                    f"the model reads on from a cache of {call.n_cached} tokens that were not recorded last; let it read the "
                    "whole sequence inside of recording(), one after another"
                )
            self._sequences.begin_pass(call)

    def _listen(self, call: AttentionCall) -> None:
        if self._sequences is None or self._sequences.lost_at is not None:
            return
        try:  # without _working(), which costs as much as the rest: this is called for every layer and token
            self._sequences.capture.listen(call)
        except BaseException as error:
            self._failure = error
            raise

    def _end_pass(self, module, args, output) -> None:
        with self._working():
            self._sequences.end_pass(getattr(output, "past_key_values", None))

    def _see_logits(self, module, args, output) -> None:
        logits = getattr(output, "logits", None)
        if self._sequences is not None and logits is not None:
            with self._working():
                self._sequences.see_logits(logits)

    def _generate_starts(self, ends: AnswerEnds) -> None:
        self._ends = ends

    def _generate_ends(self, kept: bool) -> None:
        self._ends = NO_ENDS
        if not kept:  # nobody can read on
            with self._working():
                self._write_sequences()

    def _start_sequences(self, call: ForwardCall) -> None:
        before = self._sequences
        if before is not None and not call.keeps_cache and before.cache is None:
            for ids, new in zip(before.ids, call.ids.tolist()):
                if new[: len(ids)] == ids and len(new) == len(ids) + 1:
                    raise InputError(
                        "the model reads the whole sequence again for each token (use_cache=False); record with the cache"
                    )
        self._write_sequences()
        marks = [self._marks.pop(0) if self._marks else None for _ in range(call.ids.shape[0])]
        chosen = self._chosen_queries()
        self._sequences = LiveSequences(self.facts, self.witness, self.trace.dtype, chosen, call, marks, self._ends)
        self._sequences.capture.__enter__()

    def _chosen_queries(self) -> ChosenQueries:
        """What is kept while a sequence grows: where its prompt ends, and what its spans are, is known at its end only."""
        numbers = [LAST_TOKENS.fullmatch(item) for item in self.query_spans]
        if not all(numbers):
            return lambda first, n_new: torch.ones(n_new, dtype=torch.bool)
        n_last = max(int(number.group(1)) for number in numbers)
        return lambda first, n_new: torch.arange(n_new, 0, -1) <= (n_last if n_new > 1 else 1)

    def _write_sequences(self) -> None:
        """Each row of the batch as a sample; their arrays are freed."""
        sequences, self._sequences = self._sequences, None
        if sequences is None:
            return
        sequences.capture.__exit__()
        sequences.drop_pass()
        if sequences.capture.n_slots == 0:  # its first pass threw, and its program tries again
            self._marks = [mark for mark in sequences.marks if mark is not None] + self._marks
            return
        for row in range(len(sequences.ids)):
            self._write_row(sequences, row)

    def _write_row(self, sequences: LiveSequences, row: int) -> None:
        sample, ids = sequences.capture.rows[row], sequences.ids[row]
        sample.finish()
        n_prompt, n_tokens = sequences.n_prompt[row], sequences.n_tokens(row)
        prompt, tokens = self._marked(sequences.marks[row], ids[:n_prompt])
        plan = plan_sample(prompt, tokens, n_tokens - n_prompt, self.query_spans)
        sample.cut(n_tokens, plan.query_ranges)
        ids = ids[:n_tokens]
        texts = []
        if self.tokenizer is not None:
            texts = [self.tokenizer.decode([token], clean_up_tokenization_spaces=False) for token in ids]
        source = {True: "greedy", False: "sampled", None: "text"}[sequences.greedy[row]]
        self.trace.write_sample(self.n_samples, plan, ids, texts, sample.forward_begins, None, source)
        write_layers(sample.layers, lambda layer, buffers: self.trace.write_layer(self.n_samples, layer, buffers))
        self.n_samples += 1
        self._names.add(plan.name)
        if sequences.lost_at is not None:
            LOG.warning(
                "'%s': its cache was evicted or altered after %d tokens; these are recorded, and what the model did after "
                "that is not",
                plan.name,
                n_tokens,
            )
        if not plan.compression_points:
            LOG.info("'%s' has no compression point: nothing is decoded and no span is named context", plan.name)

    def _marked(self, mark: SequenceMark | None, ids: list[int]) -> tuple[Prompt, PromptTokens]:
        name = f"sample-{self.n_samples + 1}"
        if mark is None or mark.name is None:
            if name in self._names:
                raise UsageError(f"the name '{name}', which a sequence without one gets, is already taken by a mark")
        if mark is None:
            return Prompt(name, name, None, None, {}), PromptTokens(ids, [], 0)
        return mark.tokens_of(name, ids, self.tokenizer)
