"""Writes the prompts that a policy is learned from, and some that it is tested on (kvreplay.learning.training_recipes).

    python -m kvreplay.learning.training_prompts --model MODEL PROMPTS.jsonl

The texts are those of a Debian machine with the packages that kvreplay is built with. Each prompt is cut to its length
in the model's own tokens. train-KIND-NN are learned from, held-KIND-NN share no text with them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from pathlib import Path

from ..common.command_line import OneLineParser
from ..common.errors import InputError
from ..common.program import run_program
from .training_recipes import HELD_OUT, TRAINING, Recipe, Source

PROGRAM = "python -m kvreplay.learning.training_prompts"


def read_source(source: Source) -> str:
    """The text of a source. InputError when there is no such file, or not such a line in it."""
    found = sorted(Path("/").glob(source.file.lstrip("/")))
    if len(found) != 1 or not found[0].is_file():
        raise InputError(
            f"{source.file}: {len(found)} files match; one is wanted: a text of Debian 12 (packages base-files, "
            "python3, cmake-data, libc6-dev, tzdata, netbase, media-types, locales and Perl)"
        )
    lines = found[0].read_text(encoding="utf-8", errors="replace").replace("\0", "").splitlines(keepends=True)
    for number, line in enumerate(lines):
        if source.start in line:
            return "".join(lines[number:])
    raise InputError(f"{found[0]}: no line holds '{source.start}'")


def first_tokens(text: str, n_tokens: int, tokenizer, name: str) -> str:
    """The first `n_tokens` of a text. InputError when it has fewer."""
    offsets = tokenizer(text, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    if len(offsets) < n_tokens:
        raise InputError(f"{name}: {len(offsets)} tokens of this model, {n_tokens} are wanted")
    return text[: offsets[n_tokens - 1][1]]


def split_at_depth(text: str, depth: float) -> tuple[str, str]:
    """Cuts a text between two lines, near `depth` of its length."""
    lines = text.splitlines(keepends=True)
    cut = max(1, min(len(lines) - 1, round(depth * len(lines))))
    return "".join(lines[:cut]), "".join(lines[cut:])


def build_prompt(name: str, recipe: Recipe, tokenizer, mark_context: bool) -> dict:
    """One line of a prompts file (kvreplay record --help). `mark_context` also lets policies act before the question."""
    if recipe.form == "chat":
        return {"name": name, "messages": repeated_exchanges(recipe, tokenizer)}
    text = first_tokens(read_source(recipe.text), recipe.n_tokens, tokenizer, recipe.text.file)
    if recipe.form == "plain":
        return {"name": name, "text": text}
    spans = ["context"] if mark_context else []
    piece = [{"text": text, "span": spans} if spans else text]
    if recipe.form == "needle":
        before, after = split_at_depth(text, recipe.depth)
        piece = [{"text": before, "span": spans} if spans else before]
        piece.append({"text": recipe.needle + "\n", "span": [*spans, "needle"]})
        piece.append({"text": after, "span": spans} if spans else after)
    ask = {"text": "\n\n" + recipe.ask, "span": "question"}
    messages = []
    for question, answer in recipe.turns:
        messages.append({"role": "user", "content": [*piece, "\n\n" + question]})
        messages.append({"role": "assistant", "content": answer})
        piece, ask = [], {"text": recipe.ask, "span": "question"}
    messages.append({"role": "user", "content": [*piece, ask]})
    return {"name": name, "messages": messages}


def repeated_exchanges(recipe: Recipe, tokenizer) -> list[dict]:
    """The messages of a chat that repeats itself: as many exchanges as reach `n_tokens`, then the question."""
    messages, n_tokens = [], 0
    for question, answer in itertools.cycle(recipe.turns):
        if n_tokens >= recipe.n_tokens:
            break
        messages.append({"role": "user", "content": question})
        messages.append({"role": "assistant", "content": answer})
        n_tokens += sum(
            len(tokenizer(each, return_offsets_mapping=True)["offset_mapping"]) for each in (question, answer)
        )
    return [*messages, {"role": "user", "content": [{"text": recipe.ask, "span": "question"}]}]


def write_prompts(options: argparse.Namespace) -> None:
    from ..common.model_loader import open_model

    tokenizer = open_model(options.model, None).tokenizer
    prompts = [
        build_prompt(f"{prefix}-{recipe.kind}-{index:02d}", recipe, tokenizer, mark_context=prefix == "held")
        for prefix, recipes in (("train", TRAINING), ("held", HELD_OUT))
        for index, recipe in enumerate(recipes)
    ]
    lines = "".join(json.dumps(prompt, ensure_ascii=False) + "\n" for prompt in prompts)
    options.output.write_text(lines, encoding="utf-8")


def build_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(PROGRAM, __doc__.split("\n\n")[0])
    parser.add_argument("output", type=Path, metavar="PROMPTS", help="file to write, for kvreplay record")
    parser.add_argument("--model", required=True, type=Path, help="as for kvreplay record: it counts the tokens")
    return parser


def main(arguments: list[str] | None = None) -> int:
    return run_program(PROGRAM, lambda: write_prompts(build_parser().parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main())
