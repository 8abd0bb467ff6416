"""A press with learned head budgets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..api.words import PathLike, path_word
from ..common.errors import InputError, UsageError
from ..learning.head_budgets import HeadBudgets
from .kept_tokens import check_prompt, mask
from .kvpress_library import load_kvpress

if TYPE_CHECKING:
    from transformers import PreTrainedModel

kvpress = load_kvpress()


class HeadBudgetPress(kvpress.BasePress):
    """A press that gives every head of every layer the budget that a file has learned; another press ranks the tokens.

        press = kvreplay.HeadBudgetPress("budgets.h5", press=SnapKVPress(), budget=0.25)
        with press(model):
            model.generate(...)

    path: of `kvreplay fit-budgets` (docs/formats/learned.md)
    press: a ScorerPress; the file was fitted to one scorer, its `table.scorer`, and suits others less
    budget: mean share of the cache that is kept in the layers of the file, of what its curves cover

    As SCORER+learned: a head keeps the file's first tokens, then the best; equal scores go by position. Layers that the
    file does not cover keep everything, and so do those with a sliding window. Evicted keys are masked, as AdaKVPress
    masks them, which saves no memory. Presses whose scores depend on the budget see the mean one.

    Throws UsageError for another kind of press, a budget outside of (0, 1], and where kvpress is not installed;
    InputError for a file that is broken or holds no budgets. In the model: InputError for one that the file is not of,
    and for a budget that its curves do not cover; UsageError for a batch, and for eager attention."""

    def __init__(self, path: PathLike, press: kvpress.ScorerPress, budget: float):
        if not isinstance(press, kvpress.ScorerPress):
            raise UsageError(f"HeadBudgetPress: expected a ScorerPress that ranks tokens, found {type(press).__name__}")
        self.path = Path(path_word(path))
        self.table = HeadBudgets.read(self.path)
        self.press = press
        self.compression_ratio = 1 - budget

    @property
    def compression_ratio(self) -> float:
        """1 - budget; may be set, as that of other presses."""
        return 1 - self.budget

    @compression_ratio.setter
    def compression_ratio(self, value: float) -> None:
        if not 0 <= value < 1:
            raise UsageError(f"HeadBudgetPress: expected a budget above 0, up to 1, found {1 - value:g}")
        self.budget = 1 - value
        self.press.compression_ratio = value

    def __repr__(self) -> str:
        return f"HeadBudgetPress({str(self.path)!r}, press={self.press}, budget={self.budget:g})"

    def post_init_from_model(self, model: PreTrainedModel) -> None:
        config = model.config.get_text_config()
        found = {
            "n_layers": config.num_hidden_layers,
            "n_q_heads": config.num_attention_heads,
            "n_kv_heads": config.num_key_value_heads,
        }
        for name, value in found.items():
            if self.table.model[name] != value:
                raise InputError(f"{self.path}: {name} is {self.table.model[name]}, the model's is {value}")
        self.press.post_init_from_model(model)

    def tokens(self, n_tokens: int) -> dict[int, list[int]]:
        """By layer, how many of `n_tokens` each head keeps."""
        budgets = self.table.tokens(self.budget, n_tokens)
        return {layer: counts.tolist() for layer, counts in zip(self.table.layers, budgets)}

    def compress(self, module, hidden_states, keys, values, attentions, kwargs):
        n_tokens = hidden_states.shape[1]
        check_prompt(keys, n_tokens, module.config._attn_implementation, "HeadBudgetPress")
        if module.layer_idx not in self.table.layers or keys.shape[2] != n_tokens or self.budget == 1:
            return keys, values
        scores = self.press.score(module, hidden_states, keys, values, attentions, kwargs)[0].float().cpu()
        scores[:, : self.table.keep_first] = torch.inf
        order = scores.argsort(dim=1, descending=True, stable=True)
        kept = torch.zeros(scores.shape, dtype=torch.bool)
        for head, n_kept in enumerate(self.tokens(n_tokens)[module.layer_idx]):
            kept[head, order[head, :n_kept]] = True
        mask(module, kept, keys.device)
        return keys, values
