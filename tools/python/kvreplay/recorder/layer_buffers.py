"""One layer's tensors on their way into a trace."""

from __future__ import annotations

import torch

from ..common.errors import InputError

GROWTH = 1.5  # of a tensor that is full


class LayerBuffers:
    """Tensors [heads, n, dim] in the dtype of the trace, filled row by row as the passes come.

    shapes: [heads, rows to expect, dim] of each tensor; more rows make it grow
    """

    def __init__(self, layer: int, shapes: dict[str, tuple[int, int, int]], dtype: torch.dtype):
        self.largest = dict.fromkeys(shapes, 0.0)  # magnitude
        self.block_cosine: torch.Tensor | None = None  # float32 [n_tokens]
        self._room = {name: torch.empty(shape, dtype=dtype) for name, shape in shapes.items()}
        self._used = dict.fromkeys(shapes, 0)
        self._layer = layer
        self._dtype = dtype

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        return {name: room[:, : self._used[name]] for name, room in self._room.items()}

    def append(self, name: str, rows: torch.Tensor) -> None:
        """Takes over `rows` [heads, n, dim], refusing what the dtype cannot hold."""
        if rows.shape[1] == 0:
            return
        largest = float(rows.abs().max())
        limit = torch.finfo(self._dtype).max
        if largest > limit:
            raise InputError(
                f"layer {self._layer}: {name} reach {largest:.6g}, beyond {_name(self._dtype)} ({limit:.6g}); "
                "record with --dtype bfloat16 or float32"
            )
        self.largest[name] = max(self.largest[name], largest)
        begin, end = self._used[name], self._used[name] + rows.shape[1]
        if end > self._room[name].shape[1]:
            self._grow(name, max(end, int(GROWTH * begin)))
        self._room[name][:, begin:end] = rows.to(self._dtype).cpu()
        self._used[name] = end

    def truncate(self, name: str, n_rows: int) -> None:
        """Forgets all rows but the first `n_rows`."""
        self._used[name] = min(self._used[name], n_rows)

    def select(self, name: str, rows: torch.Tensor) -> None:
        """Keeps these rows alone; `rows` [n], ascending."""
        self._room[name] = self.tensors[name][:, rows]
        self._used[name] = len(rows)

    def _grow(self, name: str, n_rows: int) -> None:
        heads, _, dim = self._room[name].shape
        room = torch.empty((heads, n_rows, dim), dtype=self._dtype)
        room[:, : self._used[name]] = self.tensors[name]
        self._room[name] = room


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
