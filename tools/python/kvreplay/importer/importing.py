"""Imports, as the command and as a function."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path

from ..common.errors import UsageError
from ..common.file_roles import check_outputs
from ..common.nearest_name import unknown_name
from ..common.printable import printable
from ..common.progress import Progress
from ..common.trace_writer import DTYPES
from .trace_import import ImportOptions, import_files


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


def import_as_asked(options: argparse.Namespace) -> None:
    """`options`: of the command line."""
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


def _named_position(text: str) -> tuple[str, int]:
    name, equals, number = text.partition("=")
    try:
        return name, int(number)
    except ValueError as error:
        raise UsageError(f"--compression-point '{text}': expected NAME=N, as in context=1200") from error
