"""The sequences of one batch while a user's program runs the model on them."""

from __future__ import annotations

import torch

from ..common.errors import InputError
from ..common.model_survey import ModelFacts
from ..common.rotary_embedding import RotationWitness
from .batch_capture import BatchCapture
from .forward_call import ForwardCall
from .generate_guard import AnswerEnds
from .sample_capture import ChosenQueries, SampleCapture
from .sequence_marks import SequenceMark

ROOM_TO_DECODE = 256  # tokens that buffers expect after a prompt


class LiveSequences:
    """Rows of a batch, from the pass that fills an empty cache on.

    ids: tokens of each row
    n_prompt: tokens of each row up to the end of the last pass of several tokens; those after it were decoded
    marks: what the user said about each row
    greedy: of each row, whether all decoded tokens were the most probable ones; None where no logits were seen
    """

    def __init__(
        self,
        facts: ModelFacts,
        witness: RotationWitness,
        dtype: torch.dtype,
        chosen: ChosenQueries,
        first: ForwardCall,
        marks: list[SequenceMark | None],
        ends: AnswerEnds,
    ):
        n_rows, n_new = first.ids.shape
        expected = (int(chosen(0, n_new).sum()) + ROOM_TO_DECODE, n_new + ROOM_TO_DECODE)
        rows = [SampleCapture(facts, dtype, witness, chosen, expected) for _ in range(n_rows)]
        self.capture = BatchCapture(facts, witness, rows)
        self.ids: list[list[int]] = [[] for _ in rows]
        self.n_prompt = [0] * n_rows
        self.greedy: list[bool | None] = [None] * n_rows
        self.marks, self.ends = marks, ends
        self.cache = None
        self.lost_at: int | None = None  # slots in the cache when it was evicted or altered
        self._best: torch.Tensor | None = None  # [n_rows], the most probable next tokens
        self._running: ForwardCall | None = None

    def begin_pass(self, call: ForwardCall) -> None:
        """InputError where padding and positions are no sequence. A cache that has lost tokens ends all rows."""
        self.drop_pass()
        if self.lost_at is not None:
            return
        if call.n_cached < self.capture.n_slots:
            self.lost_at = self.capture.n_slots
            return
        self._check(call)
        self._running = call
        self.capture.begin_pass(call.n_new, call.real)

    def drop_pass(self) -> None:
        """Forgets a pass that threw."""
        if self._running is not None:
            self.capture.drop_pass()
            self._running = None

    def end_pass(self, cache) -> None:
        """`cache`: of the model after the pass."""
        call, self._running = self._running, None
        if call is None:
            return
        self.cache = call.cache if cache is None else cache
        n_before = self.capture.n_slots - call.n_new
        self.capture.end_pass()
        if self.capture.lost:
            self.lost_at = n_before
            return
        for row, ids in enumerate(self.ids):
            new = call.ids[row][call.real[row]].tolist()
            ids.extend(new)
            if call.n_new > 1 or n_before == 0:
                self.n_prompt[row] = len(ids)
                self.greedy[row] = None
            elif new and self._best is not None:
                self.greedy[row] = self.greedy[row] is not False and new[0] == self._best[row]
        self._best = None

    def see_logits(self, logits: torch.Tensor) -> None:
        """Of the pass that just ended, [n_rows, n, vocabulary]."""
        if self.lost_at is None and logits.ndim == 3 and logits.shape[0] == len(self.ids):
            self._best = logits[:, -1].argmax(dim=-1).tolist()

    def n_tokens(self, row: int) -> int:
        """Tokens of a row that belong to it. In a batch generate() goes on with rows that are ready, by padding."""
        ids, begin = self.ids[row], self.n_prompt[row]
        if len(self.ids) == 1:
            return len(ids)
        end = next((at for at in range(begin, len(ids)) if ids[at] in self.ends.end_ids), None)
        if end is not None:
            return end
        n_tokens = len(ids)
        while n_tokens > begin and ids[n_tokens - 1] == self.ends.padding:
            n_tokens -= 1
        return n_tokens

    def _check(self, call: ForwardCall) -> None:
        if call.n_cached != self.capture.n_slots:
            raise InputError(
                f"the model reads on from a cache of {call.n_cached} tokens, of which {self.capture.n_slots} were recorded; "
                "let it read the whole sequence inside of recording()"
            )
        if call.ids.shape[0] != len(self.ids):
            raise InputError(f"a batch of {len(self.ids)} rows goes on with {call.ids.shape[0]}")
        for row, ids in enumerate(self.ids):
            at = call.real[row].nonzero()[:, 0]
            if len(at) == 0:
                if not ids:
                    raise InputError(f"row {row} of the batch is padding alone")
                continue
            if int(at[-1]) - int(at[0]) + 1 != len(at):
                raise InputError(f"row {row}: its attention_mask has a gap, where only its ends may be padding")
            if call.places is None:
                continue
            places = call.places[min(row, len(call.places) - 1)][at]
            if not torch.equal(places, torch.arange(len(ids), len(ids) + len(at))):
                raise InputError(
                    f"row {row}: its tokens stand at the positions {int(places[0])} to {int(places[-1])}, expected "
                    f"{len(ids)} to {len(ids) + len(at) - 1}: position_ids count the padding. generate() counts right where "
                    "the padding is on the left; a forward pass needs position_ids=attention_mask.cumsum(-1) - 1 there"
                )
