"""Writes the head budgets of a learned policy (traces/LKV.md) as JSON or npz, for use without HDF5.

    python tools/export_budgets.py table.h5 --output table.json
    python tools/export_budgets.py table.h5 --kept 0.25 --length 4096

With --kept and --length it prints the tokens that each head keeps of such a prompt instead, a line for each layer:
the numbers of kvreplay's allocator `learned`.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from lkv.head_budgets import HeadBudgets  # noqa: E402
from recorder.errors import InputError  # noqa: E402

WRITERS = {".json": HeadBudgets.write_json, ".npz": HeadBudgets.write_npz}


def write_whole(budgets: HeadBudgets, path: Path) -> None:
    """The file is whole or absent."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        WRITERS[path.suffix](budgets, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", type=Path, help="what kvreplay fit-budgets wrote")
    parser.add_argument("--output", "-o", type=Path, help="FILE.json or FILE.npz")
    parser.add_argument("--force", action="store_true", help="overwrite it")
    parser.add_argument("--kept", type=float, help="share of the cache, mean over heads")
    parser.add_argument("--length", type=int, help="tokens of the prompt")
    parser.add_argument("--by-count", action="store_true", help="as by=count of the allocator")
    options = parser.parse_args(arguments)
    if (options.kept is None) != (options.length is None):
        parser.error("--kept and --length go together")
    if options.output is None and options.kept is None:
        parser.error("nothing to do: --output FILE, or --kept SHARE and --length TOKENS")
    if options.length is not None and options.length < 1:
        parser.error(f"--length {options.length}: expected at least 1")
    if options.output is not None and options.output.suffix not in WRITERS:
        parser.error(f"--output {options.output}: expected a name that ends in .json or .npz")
    if options.output is not None and options.output.exists() and not options.force:
        parser.error(f"--output {options.output} exists; --force overwrites it")
    try:
        budgets = HeadBudgets.read(options.table)
        if options.kept is not None:
            for layer, row in zip(budgets.layers, budgets.tokens(options.kept, options.length, None, options.by_count)):
                print(layer, *row)
        if options.output is not None:
            write_whole(budgets, options.output)
    except InputError as error:
        print(f"export_budgets.py: error: {error}", file=sys.stderr)
        return 3
    except OSError as error:
        print(f"export_budgets.py: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
