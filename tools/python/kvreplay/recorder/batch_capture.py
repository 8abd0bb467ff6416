"""Takes apart what the attention of a batch sees: each row is a sample, and padding belongs to none."""

from __future__ import annotations

import dataclasses

import torch

from ..common.attention_hook import AttentionCall
from ..common.errors import InputError
from ..common.model_survey import ModelFacts
from ..common.residual_stream import ResidualStream
from ..common.rotary_embedding import RotationWitness
from .attention_mask import visible_keys
from .sample_capture import SampleCapture


class BatchCapture:
    """The listener of the attention hook for the rows of one batch. Use between begin_pass() and end_pass() of each
    forward pass.

    rows: where each row goes
    lost: whether a layer's cache was evicted or altered since the last pass; the running pass, and those after it, are
        part of no sample
    """

    def __init__(self, facts: ModelFacts, witness: RotationWitness, rows: list[SampleCapture]):
        self.rows = rows
        self.lost = False
        self._witness = witness
        self._recorded = {layer.index for layer in facts.layers}
        self._streams = {layer.index: ResidualStream(layer.block) for layer in facts.layers if layer.block is not None}
        self._real = torch.empty((len(rows), 0), dtype=torch.bool)  # which slots of the cache hold tokens
        self._padded = False
        self._n_new = 0  # of the running pass
        self._compare = False  # the running pass: whether the cache is compared with what was recorded
        self._places: dict[tuple[int, int], slice | torch.Tensor] = {}  # of the running pass
        self._masks: dict[tuple[int, int], tuple[torch.Tensor, torch.Tensor]] = {}

    def __enter__(self) -> BatchCapture:
        for stream in self._streams.values():
            stream.attach()
        return self

    def __exit__(self, *error) -> None:
        for stream in self._streams.values():
            stream.detach()

    @property
    def n_slots(self) -> int:
        """Positions in the cache after the passes that ended, padding included."""
        return self._real.shape[1]

    def begin_pass(self, n_new: int, real: torch.Tensor | None = None) -> None:
        """A forward pass follows. `real`: which of its tokens are no padding, bool [n_rows, n_new]; None for all."""
        if real is None:
            real = torch.ones((len(self.rows), n_new), dtype=torch.bool)
        # A cache that changed has done so right after the pass that filled it.
        self._compare = self._n_new > 1
        self._n_new = n_new
        self._real = torch.cat([self._real, real], dim=1)
        self._padded = self._padded or not bool(real.all())
        self._places.clear()
        self._masks.clear()
        for row, n_real in zip(self.rows, real.sum(dim=1).tolist()):
            if n_real:
                row.begin_pass(n_real)

    def end_pass(self) -> None:
        if self.lost:
            self.drop_pass()
            return
        streams = {index: stream.take() for index, stream in self._streams.items()}
        for number, row in enumerate(self.rows):
            new = self._place(number, self._n_new)
            if _is_empty(new):
                continue
            row.end_pass(
                {index: (before[number][new], after[number][new]) for index, (before, after) in streams.items()}
            )

    def drop_pass(self) -> None:
        """Forgets the running pass."""
        self._real = self._real[:, : self.n_slots - self._n_new]
        for row in self.rows:
            row.drop_pass()

    @torch.inference_mode()
    def listen(self, call: AttentionCall) -> None:
        """Takes over the new queries, keys and values of one layer."""
        if self.lost:
            return
        if call.query.shape[2] != self._n_new or call.query.shape[0] != len(self.rows):
            raise InputError(f"layer {call.layer} does not attend once per token and pass")
        if call.key.shape[2] > self.n_slots:
            raise InputError(
                f"layer {call.layer}: {call.key.shape[2]} cached keys after {self.n_slots} tokens: a cache of fixed size, or "
                "one that was filled before, cannot be recorded"
            )
        rotation = self._witness.take(call.key.narrow(2, call.key.shape[2] - self._n_new, self._n_new), call.layer)
        if call.layer not in self._recorded:
            return
        if not self._is_whole(call):
            self.lost = True
            return
        for number, row in enumerate(self.rows):
            new = self._place(number, self._n_new)
            if _is_empty(new):
                continue
            part = self._row_of(call, number)
            if self._compare and not row.holds(part):
                self.lost = True
                return
            row.listen(part, None if rotation is None else rotation.of_row(number, new if self._padded else None))

    def _is_whole(self, call: AttentionCall) -> bool:
        """Are there as many keys as the passes brought? A sliding layer may have forgotten those out of its window."""
        n_keys, n_before = call.key.shape[2], self.n_slots - self._n_new
        forgetful = min(n_before, call.window - 1) + self._n_new if call.window else self.n_slots
        return n_keys in (self.n_slots, forgetful)

    def _row_of(self, call: AttentionCall, number: int) -> AttentionCall:
        """What one row's tokens see of each other."""
        if len(self.rows) == 1 and not self._padded:
            return call
        new, keys = self._place(number, self._n_new), self._place(number, call.key.shape[2])
        one = slice(number, number + 1)
        return dataclasses.replace(
            call,
            query=call.query[one][:, :, new],
            key=call.key[one][:, :, keys],
            value=call.value[one][:, :, keys],
            mask=self._mask_of(call, number, new, keys),
            output=call.output[one][:, new],
        )

    def _mask_of(self, call: AttentionCall, number: int, new, keys) -> torch.Tensor | None:
        """The part of the mask for a row's tokens; the same object for all layers that share the mask."""
        real = self._real[number, self.n_slots - call.key.shape[2] :]
        if call.mask is None:
            last = int(real.nonzero()[-1]) if bool(real.any()) else 0
            if not bool(real[: last + 1].all()):
                raise InputError(f"layer {call.layer}: row {number} sees its padding: it attends without a mask")
            return None
        key = (id(call.mask), number)
        if key not in self._masks:
            mask = call.mask[min(number, call.mask.shape[0] - 1)][None][:, :, new]
            if bool(visible_keys(mask, call.layer)[..., ~real.to(mask.device)].any()):
                raise InputError(f"layer {call.layer}: row {number} sees its padding")
            self._masks[key] = (call.mask, mask[..., keys])
        return self._masks[key][1]

    def _place(self, number: int, n_slots: int) -> slice | torch.Tensor:
        """Where a row's tokens are among the last `n_slots` slots."""
        if (number, n_slots) not in self._places:
            at = self._real[number, self.n_slots - n_slots :].nonzero()[:, 0]
            together = len(at) > 0 and int(at[-1]) - int(at[0]) + 1 == len(at)
            self._places[number, n_slots] = slice(int(at[0]), int(at[-1]) + 1) if together else at
        return self._places[number, n_slots]


def _is_empty(place: slice | torch.Tensor) -> bool:
    return not isinstance(place, slice) and len(place) == 0
