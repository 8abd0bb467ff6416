"""The command line of kvreplay import."""

from __future__ import annotations

import argparse
from pathlib import Path

from .. import VERSION
from ..common.command_line import OneLineParser
from ..common.trace_writer import DTYPES
from .import_map import ready_maps

PROGRAM = "kvreplay import"
SUMMARY = "Makes a kvreplay trace of keys, values and queries that another program left."

EPILOG = """\
maps that come with it:
{maps}

A trace without queries replays policies that need none, and what can be measured on the retained sets: overlap, bytes,
kept fractions, needle recall. The rest is refused by name.

exit codes: 0 ok, 1 failure, 2 usage, 3 the files, the map or config.json cannot be used
"""


def build_parser() -> argparse.ArgumentParser:
    maps = "\n".join(f"  {name}\n      {about}" for name, about in ready_maps().items())
    parser = OneLineParser(PROGRAM, SUMMARY + " docs/importing.md describes maps.", EPILOG.format(maps=maps))
    add = parser.add_argument
    add("map", metavar="MAP", help="a map, MAP.toml, or the name of one that comes with it (see below)")
    add("files", nargs="+", type=Path, metavar="FILE", help="safetensors, npz, files of torch.save, llama.cpp's states")
    add("-o", "--output", required=True, type=Path, metavar="FILE", help="trace to write")
    add("--config", type=Path, metavar="FILE", help="the model's config.json: heads, sizes, RoPE, sliding windows")
    add("--model-id", metavar="NAME", help="the model's name in the trace (default: as config.json says)")
    add(
        "--decode-start",
        type=_position,
        metavar="N",
        help="position of the first token that is no longer the prompt's; negative: from the end (default: the prompt "
        "is all there is)",
    )
    add(
        "--compression-point",
        action="append",
        default=[],
        metavar="NAME=N",
        help="where policies may act; several may be given (default: prompt, where the prompt ends)",
    )
    add("--dtype", choices=DTYPES, help="dtype in the trace (default: that of the tensors)")
    add("--gzip", action="store_true", help="compress (saves 7 to 30 %%, slower to read)")
    add("--force", action="store_true", help="replace the output if it exists")
    add("-q", "--quiet", action="store_true", help="say nothing but errors")
    add("--version", action="version", version=f"{PROGRAM} {VERSION}")
    return parser


def _position(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a whole number, found '{text}'") from error
