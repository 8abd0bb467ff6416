"""Hands a learned policy (docs/formats/learned.md) on to programs that read no HDF5.

python -m kvreplay.learning.export lkv.h5 lkv.npz     every array under its path (scorer/w1), and `attributes`, JSON
python -m kvreplay.learning.export lkv.h5 lkv.json    attributes, and the budget table as lists
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import h5py
import numpy as np

from ..common.command_line import OneLineParser
from ..common.errors import InputError, UsageError, first_line
from ..common.file_roles import check_outputs
from ..common.inspected_file import open_inspected
from ..common.kvreplay_program import FILES_HELP
from ..common.program import run_program
from .lkv_file import FORMAT

PROGRAM = "python -m kvreplay.learning.export"


def read_everything(path: Path) -> tuple[dict[str, dict], dict[str, np.ndarray]]:
    """Attributes by group ("" is the root), and arrays by path."""
    attributes: dict[str, dict] = {}
    arrays: dict[str, np.ndarray] = {}

    def visit(name: str, item) -> None:
        if isinstance(item, h5py.Group):
            attributes[name] = {key: _plain(value) for key, value in item.attrs.items()}
        else:
            arrays[name] = np.array(item.asstr()[:], dtype=str) if h5py.check_string_dtype(item.dtype) else item[:]

    try:
        with open_inspected(path) as file:
            if file.attrs.get("format") != FORMAT:
                raise InputError(f"{path}: format '{file.attrs.get('format')}', expected {FORMAT}")
            visit("", file)
            file.visititems(visit)
    except OSError as error:
        raise InputError(f"{path}: {first_line(error)}") from error
    return attributes, arrays


def _plain(value):
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def write_npz(path: Path, attributes: dict, arrays: dict) -> None:
    with open(path, "wb") as file:
        np.savez_compressed(file, attributes=np.array(json.dumps(attributes, sort_keys=True)), **arrays)


def write_json(path: Path, attributes: dict, arrays: dict) -> None:
    table = {
        name.removeprefix("budget/"): values.tolist() for name, values in arrays.items() if name.startswith("budget/")
    }
    trained_on = {name: values.tolist() for name, values in arrays.items() if name == "scorer/trained_on"}
    path.write_text(
        json.dumps({"attributes": attributes, "budget": table, **trained_on}, indent=1) + "\n", encoding="utf-8"
    )


WRITERS = {".npz": write_npz, ".json": write_json}


def export(options: argparse.Namespace) -> None:
    if options.output.suffix not in WRITERS:
        raise UsageError(f"{options.output}: the name ends neither in .npz nor in .json")
    check_outputs([options.output], [options.policy], options.force)
    temporary = options.output.with_name(options.output.name + ".tmp")
    try:
        WRITERS[options.output.suffix](temporary, *read_everything(options.policy))
        os.replace(temporary, options.output)
    finally:
        temporary.unlink(missing_ok=True)


def build_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(PROGRAM, __doc__, FILES_HELP)
    parser.add_argument("policy", type=Path)
    parser.add_argument("output", type=Path, help="FILE.npz or FILE.json")
    parser.add_argument("--force", action="store_true", help="replace the output if it exists")
    return parser


def main(arguments: list[str] | None = None) -> int:
    return run_program(PROGRAM, lambda: export(build_parser().parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main())
