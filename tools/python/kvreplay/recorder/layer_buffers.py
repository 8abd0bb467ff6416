"""One layer's tensors on their way into a trace."""

from __future__ import annotations

import torch

from ..common.errors import InputError


class LayerBuffers:
    """Tensors [heads, n, dim] in the dtype of the trace; allocated once, filled as the passes come."""

    def __init__(self, layer: int, shapes: dict[str, tuple[int, int, int]], dtype: torch.dtype):
        self.tensors = {name: torch.empty(shape, dtype=dtype) for name, shape in shapes.items()}
        self.largest = dict.fromkeys(shapes, 0.0)  # magnitude
        self.block_cosine: torch.Tensor | None = None  # float32 [n_tokens]
        self._layer = layer
        self._dtype = dtype

    def store(self, name: str, rows: torch.Tensor, at: torch.Tensor) -> None:
        """Writes `rows` [heads, n, dim] to the rows `at` [n] of a tensor, refusing what its dtype cannot hold."""
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
        self.tensors[name][:, at] = rows.to(self._dtype).cpu()


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
