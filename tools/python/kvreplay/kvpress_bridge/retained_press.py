"""A press that keeps what a replay kept."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..api.retained_sets import RetainedSets, retained
from ..api.words import PathLike, path_word
from ..common.errors import InputError, UsageError
from ..common.inspected_file import open_inspected
from ..common.nearest_name import unknown_name
from ..plot.retained_tokens import check_format, check_trace
from .kept_tokens import check_prompt, gather, mask
from .kvpress_library import load_kvpress

if TYPE_CHECKING:
    from transformers import PreTrainedModel

kvpress = load_kvpress()


class RetainedPress(kvpress.BasePress):
    """A press that keeps exactly the tokens of retained sets, when the model is given the prompt that they are of.

        press = kvreplay.RetainedPress("sets.h5", policy="snapkv+waterfill", budget=0.25, trace="trace.h5")
        with press(model):
            model.generate(prompt_ids, ...)

    sets: a file of `kvreplay replay --save-retained`, or what `kvreplay.retained` returned
    policy: as the results name it
    budget: the share that is kept, one of the file's; may be left out where it has one
    sample, point: may be left out where the file has one
    trace: the trace of the replay; the tokens of the prompt are compared with it. Sets alone tell how many they are

    Layers without sets keep everything, as in `kvreplay validate`. Where every head of the model keeps equally many
    tokens the cache shrinks; else evicted keys are masked, as AdaKVPress masks them, which saves no memory.

    Throws UsageError for what the file does not have, for sets of query heads, and where kvpress is not installed;
    InputError for a file that is broken or of another trace. In the model: InputError for a prompt of another length or
    other tokens, and for a model of other heads or layers; UsageError for a batch, and for eager attention."""

    def __init__(
        self,
        sets: PathLike | RetainedSets,
        *,
        policy: str,
        budget: float | None = None,
        sample: str | None = None,
        point: str | None = None,
        trace: PathLike | None = None,
    ):
        sets = sets if isinstance(sets, RetainedSets) else retained(sets)
        array = sets.array(policy=policy, sample=sample, point=point)
        if array.attrs["head_axis"] != "kv":
            raise UsageError(f"{sets.path}: '{policy}' keeps a set for each query head; a cache has KV heads")
        at = _budget_index(array["budget"].values, budget)
        self.policy, self.budget = policy, float(array["budget"].values[at])
        self.first_position = int(array["position"].values[0])
        self.n_tokens = int(array["position"].values[-1]) + 1
        self.kept = {
            int(layer): torch.from_numpy(kept) for layer, kept in zip(array["layer"].values, array.values[at].copy())
        }
        self._prompt = None if trace is None else _prompt_tokens(sets, sample, Path(path_word(trace)), self.n_tokens)
        self._tokens_seen: torch.Tensor | None = None

    @property
    def compression_ratio(self) -> float:
        """The share of the tokens that the sets leave out."""
        return 1 - float(torch.stack([kept.float().mean() for kept in self.kept.values()]).mean())

    def __repr__(self) -> str:
        return f"RetainedPress(policy={self.policy!r}, budget={self.budget:g}, n_tokens={self.n_tokens})"

    @contextmanager
    def __call__(self, model: PreTrainedModel) -> Generator:
        def see(module: torch.nn.Module, inputs: tuple) -> None:
            self._tokens_seen = inputs[0] if inputs else None

        handle = model.get_input_embeddings().register_forward_pre_hook(see)
        try:
            with super().__call__(model):
                yield
        finally:
            handle.remove()
            self._tokens_seen = None

    def compress(self, module, hidden_states, keys, values, attentions, kwargs):
        n_layers = module.config.num_hidden_layers
        self._check(module, hidden_states, keys, n_layers)
        kept = self.kept.get(module.layer_idx)
        if kept is None:
            return keys, values
        kept = self._of_cached(kept, keys.shape[2], module.layer_idx)
        if bool(kept.all()):
            return keys, values
        if self._shrinks(n_layers):
            return gather(keys, values, kept)
        mask(module, kept, keys.device)
        return keys, values

    def _check(self, module: torch.nn.Module, hidden_states: torch.Tensor, keys: torch.Tensor, n_layers: int) -> None:
        check_prompt(keys, self.n_tokens, module.config._attn_implementation, "RetainedPress")
        if hidden_states.shape[1] != self.n_tokens:
            raise InputError(
                f"RetainedPress: the sets are of a prompt of {self.n_tokens} tokens, the model was given "
                f"{hidden_states.shape[1]}"
            )
        n_heads = len(next(iter(self.kept.values())))
        if keys.shape[1] != n_heads or max(self.kept) >= n_layers:
            raise InputError(
                f"RetainedPress: the sets are of {n_heads} KV heads and layers up to {max(self.kept)}, the model has "
                f"{keys.shape[1]} and {n_layers} layers"
            )
        if self._prompt is None:
            return
        seen = self._tokens_seen
        if seen is None or seen.shape != (1, self.n_tokens):
            raise InputError("RetainedPress: the model was given no token ids, which trace= compares")
        differ = (seen[0].cpu() != self._prompt).nonzero()
        if len(differ):
            at = int(differ[0, 0])
            raise InputError(
                f"RetainedPress: the prompt is another one than the trace's: token {at} is {int(seen[0, at])}, there "
                f"{int(self._prompt[at])}"
            )

    def _of_cached(self, kept: torch.Tensor, n_cached: int, layer: int) -> torch.Tensor:
        """[n_kv_heads, n_cached]: a layer with a sliding window has forgotten the first tokens by itself."""
        if n_cached == self.n_tokens and self.first_position == 0:
            return kept
        cached = kept[:, -n_cached:]
        if not bool(cached.all()):
            raise UsageError(f"RetainedPress: layer {layer} has a sliding window, in which kvpress evicts nothing")
        return cached

    def _shrinks(self, n_layers: int) -> bool:
        """Caches of unlike lengths would mislead the model's masks."""
        counts = {int(count) for kept in self.kept.values() for count in kept.sum(dim=1)}
        return len(counts) == 1 and len(self.kept) == n_layers


def _budget_index(known: np.ndarray, wanted: float | None) -> int:
    """Of the budget, which is not the nearest: the sets have to be those that were meant. Throws UsageError."""
    names = [f"{each:g}" for each in known]
    if wanted is None:
        if len(known) != 1:
            raise UsageError(f"budget: name one of {', '.join(names)}")
        return 0
    near = np.flatnonzero(np.isclose(known, wanted, rtol=1e-6, atol=0))
    if len(near) == 0:
        raise UsageError(unknown_name("budget", f"{wanted:g}", names))
    return int(near[0])


def _prompt_tokens(sets: RetainedSets, sample: str | None, trace: Path, n_tokens: int) -> torch.Tensor:
    """The token ids that the trace has for the sample, int64 [n_tokens]. Throws InputError."""
    number = next(key for key, name in sets.samples.items() if sample in (None, name))
    with open_inspected(trace) as file, open_inspected(sets.path) as sets_file:
        check_format(file, trace, "kvreplay-trace")
        check_trace(trace, sets_file, sets.path)
        return torch.from_numpy(file[f"samples/{number}/token_ids"][:n_tokens].astype(np.int64))
