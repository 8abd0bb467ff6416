"""What the quadratic form of a sensitivity says of its own drop passes, position by position.

Each of these passes really lost something, and that is recorded: KL(clean || dropped) at each scored query. The form of
the same retained set, as a replay gives it, is what predictions are to be corrected with.
"""

from __future__ import annotations

import numpy as np
import torch

from ..common.attention_hook import AttentionCall
from ..common.retained_attention import retained_attention
from .sensitivity_rows import SensitivityRows


class PassQuadratics:
    """Listens to one pass at the clean cache, after the gradients of all sketches are stored.

    Replays the drops there: with the pass's own queries, keys and values, layer by layer, so that no more than one
    layer's gradients and the outputs under one retained set are in memory.

    retained: of each drop pass, by layer, bool [n_kv_heads, position]
    """

    def __init__(self, rows: SensitivityRows, retained: list[dict[int, torch.Tensor]], n_sketches: int, n_queries: int):
        self._rows = rows
        self._retained = retained
        self._sums = np.zeros((len(retained), n_sketches, n_queries))  # over layers and heads, with their signs

    def add(self, call: AttentionCall) -> None:
        """A recorded layer's call, whose queries see everything."""
        gradients = self._rows.gradients(call.layer)
        # In float32 as a replay is: what is left over is the difference of two nearly equal outputs.
        query, key, value = (tensor.float() for tensor in (call.query, call.key, call.value))

        def output(retained: torch.Tensor) -> torch.Tensor:
            attended = retained_attention(query, key, value, retained, call.window, call.scaling, call.softcap)
            return attended[0].flatten(start_dim=1)

        full = output(torch.ones_like(self._retained[0][call.layer]))
        for sums, retained in zip(self._sums, self._retained):
            error = (output(retained[call.layer]) - full).cpu().numpy()
            for sketch, (integers, scale) in enumerate(gradients):
                sums[sketch] += scale * np.einsum("tc,tc->t", integers.astype(np.float32), error)

    def forms(self) -> np.ndarray:
        """1 / (2 n_sketches) sum of the squares over the sketches, nats: [n_drop_passes, n_queries]."""
        return (self._sums**2).mean(axis=1) / 2
