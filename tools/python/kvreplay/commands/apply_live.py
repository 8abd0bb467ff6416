"""An example: a learned policy, or what `kvreplay advise` said, at work in a Hugging Face model.

    python -m kvreplay.commands.apply_live --model MODEL --policy lkv.h5 --kept 0.25 --prompts prompts.jsonl
    python -m kvreplay.commands.apply_live --model MODEL --policy advice.json --prompts prompts.jsonl

A learned policy (docs/formats/learned.md) reads each prompt with the whole cache, scores its keys and values by the
networks, splits the total over heads by the file's budget table (evenly if it has none), hides the tokens that no longer
fit and decodes on; the hidden tokens stay in memory: a server would drop them, head by head. Other policies of an advice
file (docs/formats/advice.md) are run by the press of kvpress that keeps their tokens. Evicts at the end of the prompt. Prints
the answer beside that of the whole cache.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from ..common.advice_file import AdviceFile, is_advice, read_advice
from ..common.command_line import OneLineParser, add_pickled_weights_option, add_text_files_option
from ..common.kvreplay_program import FILES_HELP
from ..common.program import run_program, start_torch

PROGRAM = "python -m kvreplay.commands.apply_live"
DEFAULT_KEPT = 0.25

Answer = tuple[list[int], float]  # tokens, and the share of the cache that is kept
Answers = Callable[[list[int], int], tuple[Answer, Answer]]  # of the whole cache, and of what is retained


def apply(options: argparse.Namespace) -> None:
    advice = read_advice(options.policy) if is_advice(options.policy) else None
    start_torch(None, "cpu")
    from ..common.model_loader import open_model
    from ..common.prompt_tokens import tokenize_prompt
    from ..common.prompts import read_prompts

    source = open_model(options.model, None)
    if advice is not None:
        _note_differences(advice, source.model_id)
    answers = _answers(options, source, advice)
    for prompt in read_prompts(options.prompts, options.allow_text_files_anywhere):
        ids = tokenize_prompt(prompt, source.tokenizer).ids
        whole, retained = answers(ids, options.decode)
        print(f"{prompt.name}: {len(ids)} tokens, {retained[1]:.1%} of their cache kept")
        for label, (answer, _) in (("whole cache", whole), ("retained", retained)):
            print(f"  {label}: {source.tokenizer.decode(answer)!r}")


def _answers(options: argparse.Namespace, source, advice: AdviceFile | None) -> Answers:
    if advice is None:
        return _learned(options, source, options.policy, True, options.kept or DEFAULT_KEPT)
    from ..kvpress_bridge.live_press import policy_parts

    kept = options.kept or advice.budget
    scorer, *rest = policy_parts(advice.policy)
    if scorer.name == "lkv" and list(map(str, rest)) in ([], ["learned"]):
        return _learned(options, source, Path(scorer.values["file"]), bool(rest), kept)
    return _pressed(options, source, advice.policy, kept)


def _learned(options: argparse.Namespace, source, file: Path, with_budgets: bool, kept: float) -> Answers:
    import torch

    from ..common.attention_hook import ATTENTION_NAME, AttentionHook
    from ..common.model_loader import load_model
    from ..learning.live_policy import LivePolicy, decode

    hook = AttentionHook()
    hook.register()
    model = load_model(source, ATTENTION_NAME, "float32", "cpu", options.allow_pickled_weights)
    policy = LivePolicy(file, model, hook, with_budgets)

    def answers(ids: list[int], n_tokens: int) -> tuple[Answer, Answer]:
        with torch.inference_mode():
            out = model(input_ids=torch.tensor([ids]), use_cache=True)
        first = int(out.logits[0, -1].argmax())
        sets = policy.retained_sets(out.past_key_values, len(ids), kept)
        share = sum(float(each.float().mean()) for each in sets.values()) / len(sets)
        whole = decode(model, hook, first, out.past_key_values, n_tokens, {})
        return (whole, 1.0), (decode(model, hook, first, out.past_key_values, n_tokens, sets), share)

    return answers


def _pressed(options: argparse.Namespace, source, policy: str, kept: float) -> Answers:
    from ..common.model_loader import load_model
    from ..kvpress_bridge.live_press import answer, attention_for, press_of

    press = press_of(policy, kept)
    model = load_model(source, attention_for(press), "float32", "cpu", options.allow_pickled_weights)
    return lambda ids, n_tokens: (answer(model, ids, n_tokens, None), answer(model, ids, n_tokens, press))


def _note_differences(advice: AdviceFile, model_id: str) -> None:
    for what, found, here in (("model", advice.model_id, model_id), ("point", advice.compression_point, "prompt")):
        if found != here:
            print(f"{PROGRAM}: note: the advice is of the {what} {found!r}, this is {here!r}", file=sys.stderr)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"expected a share above 0, up to 1, found '{text}'")
    return share


def build_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(PROGRAM, __doc__.split("\n\n")[0], FILES_HELP)
    parser.add_argument("--model", required=True, type=Path, help="as for kvreplay record")
    parser.add_argument(
        "--policy",
        required=True,
        type=Path,
        help="a file of format kvlkv-1 with a scorer, or what kvreplay advise --save wrote",
    )
    parser.add_argument("--prompts", required=True, type=Path, help="as for kvreplay record")
    parser.add_argument(
        "--kept", type=_share, help=f"share of the prompt's cache (default: the advice's, or {DEFAULT_KEPT})"
    )
    parser.add_argument("--decode", type=int, default=32, help="tokens (default: 32)")
    add_text_files_option(parser)
    add_pickled_weights_option(parser)
    return parser


def main(arguments: list[str] | None = None) -> int:
    return run_program(PROGRAM, lambda: apply(build_parser().parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main())
