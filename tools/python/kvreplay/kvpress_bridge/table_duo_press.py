"""DuoAttention with gates of a file: kvpress downloads those of a few models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..common.errors import InputError, first_line
from .kvpress_library import load_kvpress

if TYPE_CHECKING:
    from transformers import PreTrainedModel

kvpress = load_kvpress()


@dataclass
class TableDuoAttentionPress(kvpress.DuoAttentionPress):
    """table: a path; gates, a row for each layer of the model, a number for each KV head, as the authors'
    full_attention_heads.tsv. It is read when the press is given a model: InputError where that
    fails or it does not fit."""

    table: str = ""
    sinks: int = 128
    recent: int = 256

    def load_attention_pattern(self, model: PreTrainedModel) -> tuple[int, int, np.ndarray]:
        config = model.config.get_text_config()
        expected = (config.num_hidden_layers, config.num_key_value_heads)
        try:
            gates = np.loadtxt(self.table, ndmin=2)
        except (OSError, ValueError) as error:
            raise InputError(f"{self.table}: {first_line(error)}") from error
        if gates.shape != expected:
            raise InputError(f"{self.table}: gates {list(gates.shape)}, the model has {list(expected)}")
        return self.sinks, self.recent, gates
