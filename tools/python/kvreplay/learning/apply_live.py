"""An example: a learned policy (docs/formats/learned.md) at work in a Hugging Face model, without kvreplay.

    python -m kvreplay.learning.apply_live --model MODEL --policy lkv.h5 --kept 0.25 --prompts prompts.jsonl

Reads each prompt with the whole cache, scores its keys and values by the networks, splits the total over heads by the
file's budget table (evenly if it has none), hides the tokens that no longer fit and decodes on. The hidden tokens stay
in memory: a server would drop them, head by head. Prints the answer beside that of the whole cache.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from ..common.attention_hook import ATTENTION_NAME, AttentionHook
from ..common.command_line import OneLineParser, add_pickled_weights_option, add_text_files_option
from ..common.errors import InputError
from ..common.inspected_file import open_inspected
from ..common.kvreplay_program import FILES_HELP
from ..common.model_loader import load_model, open_model
from ..common.model_survey import survey_model
from ..common.prefix_cache import branch_of
from ..common.program import run_program, start_torch
from ..common.prompt_tokens import tokenize_prompt
from ..common.prompts import read_prompts
from ..common.rotary_embedding import RotationWitness
from .features import FEATURES, token_features
from .head_budgets import HeadBudgets
from .held_out import keep_best
from .lkv_file import read_networks
from .trace_input import LayerTensors, ModelShape
from .training_set import KEEP_FIRST

PROGRAM = "python -m kvreplay.learning.apply_live"


class LivePolicy:
    """Networks and budgets of a file, ready for one model."""

    def __init__(self, path: Path, model, hook: AttentionHook):
        self.networks = read_networks(path)
        with open_inspected(path) as file:
            self.layers = file.attrs["layers"].tolist()
            if file["scorer"].attrs["features"] != FEATURES:
                raise InputError(f"{path}: a scorer with features {file['scorer'].attrs['features']}, not {FEATURES}")
            has_budgets = "budget" in file
            heads = {
                name: int(file.attrs[name]) for name in ("n_layers", "n_q_heads", "n_kv_heads", "head_dim", "value_dim")
            }
        self.table = HeadBudgets.read(path) if has_budgets else None
        if self.table is not None and self.table.keep_first > KEEP_FIRST:
            raise InputError(f"{path}: its heads keep the first {self.table.keep_first} tokens, here {KEEP_FIRST}")
        with RotationWitness(model) as witness:
            facts = survey_model(model, hook, witness, self.layers, with_projection=False)
        for name, value in heads.items():
            if getattr(facts, name) != value:
                raise InputError(f"{path}: {name} is {value}, the model's is {getattr(facts, name)}")
        self._facts = facts.layers
        self._shape = ModelShape("", facts.n_layers, tuple(self.layers), facts.n_q_heads, facts.n_kv_heads,
                                 facts.head_dim, facts.value_dim, facts.softmax_scale, facts.logit_softcap)  # fmt: skip

    def budgets(self, kept: float, length: int) -> np.ndarray:
        """Tokens of each head, [n_layers, n_kv_heads]."""
        if self.table is None:
            return np.full((len(self.layers), self._shape.n_kv_heads), round(kept * length))
        return self.table.tokens(kept, length)

    @torch.no_grad()
    def retained_sets(self, cache, length: int, kept: float) -> dict[int, torch.Tensor]:
        """By layer, bool [n_kv_heads, length]: which prompt tokens stay."""
        sets, budgets = {}, self.budgets(kept, length)
        for index, (layer, network, facts) in enumerate(zip(self.layers, self.networks, self._facts)):
            if facts.sliding_window > 0:  # what a sliding layer holds, it keeps
                continue
            keys, values = cache.layers[layer].keys[0].float().cpu(), cache.layers[layer].values[0].float().cpu()
            nothing = torch.zeros(0)
            tensors = LayerTensors(nothing, keys, values, nothing, nothing, 0, facts.rope)
            scores = network(token_features(tensors, length, self._shape, False))
            rows = [keep_best(scores[head : head + 1], int(n)) for head, n in enumerate(budgets[index])]
            sets[layer] = torch.cat(rows).bool()
        return sets


@torch.inference_mode()
def decode(
    model, hook: AttentionHook, first: int, cache, n_tokens: int, retained: dict[int, torch.Tensor]
) -> list[int]:
    """Greedy tokens after `first`, the prompt's tokens hidden but for the retained ones."""
    ids, cache = [first], branch_of(cache)
    for step in range(n_tokens - 1):
        seen = {layer: torch.nn.functional.pad(kept, (0, step), value=True) for layer, kept in retained.items()}
        hook.retained = seen  # decoded tokens always stay
        out = model(input_ids=torch.tensor([[ids[-1]]], device=model.device), past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        ids.append(int(out.logits[0, -1].argmax()))
    hook.retained = {}
    return ids


def apply(options: argparse.Namespace) -> None:
    start_torch(None, "cpu")
    source = open_model(options.model, None)
    hook = AttentionHook()
    hook.register()
    model = load_model(source, ATTENTION_NAME, "float32", "cpu", options.allow_pickled_weights)
    policy = LivePolicy(options.policy, model, hook)
    for prompt in read_prompts(options.prompts, options.allow_text_files_anywhere):
        ids = tokenize_prompt(prompt, source.tokenizer).ids
        with torch.inference_mode():
            out = model(input_ids=torch.tensor([ids]), use_cache=True)
        first = int(out.logits[0, -1].argmax())
        sets = policy.retained_sets(out.past_key_values, len(ids), options.kept)
        share = sum(float(kept.float().mean()) for kept in sets.values()) / len(sets)
        print(f"{prompt.name}: {len(ids)} tokens, {share:.1%} of their cache kept")
        for label, retained in (("whole cache", {}), ("retained", sets)):
            answer = decode(model, hook, first, out.past_key_values, options.decode, retained)
            print(f"  {label}: {source.tokenizer.decode(answer)!r}")


def build_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(PROGRAM, __doc__.split("\n\n")[0], FILES_HELP)
    parser.add_argument("--model", required=True, type=Path, help="as for kvreplay record")
    parser.add_argument("--policy", required=True, type=Path, help="a file of format kvlkv-1 with a scorer")
    parser.add_argument("--prompts", required=True, type=Path, help="as for kvreplay record")
    parser.add_argument("--kept", type=float, default=0.25, help="share of the prompt's cache (default: 0.25)")
    parser.add_argument("--decode", type=int, default=32, help="tokens (default: 32)")
    add_text_files_option(parser)
    add_pickled_weights_option(parser)
    return parser


def main(arguments: list[str] | None = None) -> int:
    return run_program(PROGRAM, lambda: apply(build_parser().parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main())
