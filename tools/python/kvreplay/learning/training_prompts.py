"""Writes the prompts that a policy is learned from, and some that it is tested on, one file each.

    python -m kvreplay.learning.training_prompts --model MODEL FOLDER

The texts are those of a Debian machine with the packages that kvreplay is built with. Each prompt is cut to its length
in the model's own tokens. train-NN.jsonl is learned from; held-NN.jsonl shares no text with them.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from ..common.command_line import OneLineParser
from ..common.errors import InputError
from ..common.program import run_program

PROGRAM = "python -m kvreplay.learning.training_prompts"


@dataclass
class Source:
    """A piece of a file: from the first line that holds `start` on. `file` is a pattern with one match."""

    file: str
    start: str = ""


@dataclass
class Recipe:
    """One prompt: its kind says how the text is wrapped. A needle stands at `depth` of the text."""

    kind: str  # needle, ask, plain
    text: Source
    n_tokens: int  # of the text
    needle: str = ""
    depth: float = 0.5
    ask: str = ""  # the question or the task, after the text
    turns: tuple[tuple[str, str], ...] = ()  # an earlier exchange: question about the text, answer


LICENSES = "/usr/share/common-licenses"
CMAKE = "/usr/share/cmake-*/Help/manual"
PYTHON = "/usr/lib/python3.11"

# Mixed kinds, as tables of head budgets want (they care little about the kind of text), with retrieval among them, as
# scorers do.
TRAINING = [
    Recipe(
        "needle",
        Source(f"{LICENSES}/Apache-2.0"),
        1500,
        needle="The access code of the northern warehouse is 48213.",
        depth=0.3,
        ask="What is the access code of the northern warehouse?",
    ),
    Recipe(
        "needle",
        Source(f"{PYTHON}/textwrap.py", "class TextWrapper"),
        1300,
        needle="# NOTE: the maintenance password of this module is violet-otter-52",
        depth=0.6,
        ask="Which maintenance password does the note in this code mention?",
    ),
    Recipe(
        "needle",
        Source(f"{LICENSES}/GFDL-1.3", "PREAMBLE"),
        1700,
        needle="The spare key of the boat house lies under the blue flowerpot.",
        depth=0.7,
        ask="Where does the spare key of the boat house lie?",
    ),
    Recipe(
        "needle",
        Source(f"{CMAKE}/cmake-language.7.rst", "Organization"),
        1400,
        needle="The meeting with the auditors has been moved to Thursday, 14:35, in room 7B.",
        depth=0.15,
        ask="When and where is the meeting with the auditors?",
    ),
    Recipe(
        "needle",
        Source(f"{LICENSES}/LGPL-2.1", "TERMS AND CONDITIONS"),
        1900,
        needle="The serial number of the old telescope is QX-7719-LB.",
        depth=0.5,
        ask="Tell me the serial number of the old telescope.",
    ),
    Recipe(
        "needle",
        Source(f"{CMAKE}/ctest.1.rst", "Options"),
        1100,
        needle="The telephone number of the harbour office is 555-0172.",
        depth=0.4,
        ask="What is the telephone number of the harbour office?",
    ),
    Recipe("plain", Source(f"{PYTHON}/heapq.py", "def heappush"), 1300),
    Recipe("plain", Source(f"{PYTHON}/csv.py", "class Dialect"), 1800),
    Recipe("plain", Source("/usr/include/elf.h", "typedef uint16_t Elf32_Half"), 1500),
    Recipe(
        "ask",
        Source(f"{LICENSES}/Artistic"),
        1300,
        ask="Summarize the document above in a few sentences.",
    ),
    Recipe(
        "ask",
        Source(f"{CMAKE}/cmake-packages.7.rst", "Introduction"),
        1700,
        ask="Write a short summary of this manual page for a colleague.",
    ),
    Recipe(
        "ask",
        Source(f"{PYTHON}/pydoc_data/topics.py", "'assignment'"),
        1400,
        turns=(("What is this text about?", "It describes assignment statements of the Python language."),),
        ask="And how are targets in a list evaluated? Give an example.",
    ),
    Recipe(
        "ask",
        Source(f"{CMAKE}/cmake-toolchains.7.rst", "Introduction"),
        1100,
        turns=(("Please read this first.", "I have read it. What would you like to know?"),),
        ask="Explain in plain words what a toolchain file is good for.",
    ),
    Recipe("plain", Source(f"{LICENSES}/GPL-1"), 1900),
    Recipe("plain", Source(f"{CMAKE}/cmake-variables.7.rst"), 1200),
    Recipe("plain", Source(f"{PYTHON}/statistics.py"), 1600),
]

HELD_OUT = [
    Recipe(
        "needle",
        Source(f"{LICENSES}/MPL-2.0"),
        2400,
        needle="The secret number of the village library is 90467.",
        depth=0.35,
        ask="What is the secret number of the village library?",
    ),
    Recipe("plain", Source(f"{PYTHON}/shlex.py", "class shlex"), 2000),
    Recipe(
        "ask",
        Source(f"{CMAKE}/cmake-buildsystem.7.rst"),
        2200,
        ask="Summarize this documentation in five sentences.",
    ),
    Recipe("plain", Source(f"{LICENSES}/GPL-3", "0. Definitions"), 2600),
]


def read_source(source: Source) -> str:
    """The text of a source. InputError when there is no such file, or not such a line in it."""
    found = sorted(Path("/").glob(source.file.lstrip("/")))
    if len(found) != 1 or not found[0].is_file():
        raise InputError(
            f"{source.file}: {len(found)} files match; one is wanted: a text of Debian 12 (packages base-files, "
            "python3, cmake-data, libc6-dev)"
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
    text = first_tokens(read_source(recipe.text), recipe.n_tokens, tokenizer, recipe.text.file)
    if recipe.kind == "plain":
        return {"name": name, "text": text}
    spans = ["context"] if mark_context else []
    piece = [{"text": text, "span": spans} if spans else text]
    if recipe.kind == "needle":
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


def write_prompts(options: argparse.Namespace) -> None:
    from ..common.model_loader import open_model

    tokenizer = open_model(options.model, None).tokenizer
    options.folder.mkdir(parents=True, exist_ok=True)
    for prefix, recipes in (("train", TRAINING), ("held", HELD_OUT)):
        for index, recipe in enumerate(recipes):
            name = f"{prefix}-{index:02d}"
            prompt = build_prompt(name, recipe, tokenizer, mark_context=prefix == "held")
            (options.folder / f"{name}.jsonl").write_text(json.dumps(prompt) + "\n", encoding="utf-8")


def build_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(PROGRAM, __doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", required=True, type=Path, help="as for kvreplay record: it counts the tokens")
    return parser


def main(arguments: list[str] | None = None) -> int:
    return run_program(PROGRAM, lambda: write_prompts(build_parser().parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main())
