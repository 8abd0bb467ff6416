"""Makes a kvreplay trace of keys, values and queries that another program left.

    kvreplay import MAP FILES... --config config.json --output trace.h5

A map says what the tensors are called and how their axes are ordered. docs/importing.md describes maps.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path

from .. import VERSION
from ..common.command_line import OneLineParser
from ..common.errors import UsageError
from ..common.file_roles import check_outputs
from ..common.nearest_name import unknown_name
from ..common.printable import printable
from ..common.program import run_program, stop_cleanly_on_terminate
from ..common.progress import Progress
from ..common.trace_writer import DTYPES
from .import_map import ready_maps
from .trace_import import PROGRAM, ImportOptions, import_files

EPILOG = """\
maps that come with it:
{maps}

A trace without queries replays policies that need none, and what can be measured on the retained sets: overlap, bytes,
kept fractions, needle recall. The rest is refused by name.

exit codes: 0 ok, 1 failure, 2 usage, 3 the files, the map or config.json cannot be used
"""


def build_parser() -> argparse.ArgumentParser:
    maps = "\n".join(f"  {name}\n      {about}" for name, about in ready_maps().items())
    parser = OneLineParser(PROGRAM, __doc__.split("\n\n")[0], EPILOG.format(maps=maps))
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


def import_trace(
    map: str | PathLike,
    files: str | PathLike | Sequence[str | PathLike],
    output: str | PathLike,
    *,
    config: str | PathLike | None = None,
    model_id: str | None = None,
    decode_start: int | None = None,
    compression_points: Mapping[str, int] | None = None,
    dtype: str | None = None,
    gzip: bool = False,
    force: bool = False,
) -> str:
    """Makes a trace of tensors that another program left; returns its path. `map`: MAP.toml or the name of a ready map;
    the other arguments are the options of `kvreplay import`.

    Throws UsageError, InputError."""
    if dtype is not None and dtype not in DTYPES:
        raise UsageError(f"dtype: {unknown_name('dtype', dtype, DTYPES)}")
    paths = [Path(files)] if isinstance(files, (str, PathLike)) else [Path(file) for file in files]
    if not paths:
        raise UsageError("import_trace needs at least one file")
    target, config_path = Path(output), Path(config) if config is not None else None
    _check_files(target, map, paths, config_path, force)
    options = ImportOptions(config_path, dtype, gzip, model_id, decode_start, dict(compression_points or {}))
    import_files(str(map), paths, target, options)
    return str(target)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code. Every error is one line on stderr."""
    return run_program(PROGRAM, lambda: _run(build_parser().parse_args(arguments)))


def command() -> int:
    """The console script."""
    stop_cleanly_on_terminate()
    return main()


def _run(options: argparse.Namespace) -> None:
    points = dict(_named_position(text) for text in options.compression_point)
    _check_files(options.output, options.map, options.files, options.config, options.force)
    chosen = ImportOptions(options.config, options.dtype, options.gzip, options.model_id, options.decode_start, points)
    with Progress(quiet=options.quiet) as progress:
        described = import_files(options.map, options.files, options.output, chosen, progress.show)
        progress.clear()
    if not options.quiet:
        print(printable(described))


def _check_files(output: Path, named_map: str | PathLike, files: list[Path], config: Path | None, force: bool) -> None:
    inputs = [*files, *([config] if config else []), *([Path(named_map)] if Path(named_map).exists() else [])]
    check_outputs([output], inputs, force)


def _position(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a whole number, found '{text}'") from error


def _named_position(text: str) -> tuple[str, int]:
    name, equals, number = text.partition("=")
    try:
        return name, int(number)
    except ValueError as error:
        raise UsageError(f"--compression-point '{text}': expected NAME=N, as in context=1200") from error


if __name__ == "__main__":
    sys.exit(command())
