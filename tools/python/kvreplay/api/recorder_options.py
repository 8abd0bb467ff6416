"""Keyword arguments as the options of kvreplay record, which its parser checks."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from ..recorder.command_line import build_parser
from .words import PathLike, Text, flag, joined_option, option, path_option

NO_PATH = "."  # stands for the model and the prompts where Python has them already


def recorder_options(
    output: PathLike,
    *,
    model: PathLike = NO_PATH,
    layers: int | str | Iterable[int | str] | None = None,
    query_spans: Text = "all",
    dtype: str = "float16",
    gzip: bool = False,
    output_projection: bool = True,
    model_id: str | None = None,
    force: bool = False,
    more: Iterable[str] = (),
) -> argparse.Namespace:
    """What both ways of recording take; `more`: words of further options. Throws UsageError for what cannot be meant."""
    words = [*path_option("model", model), *path_option("prompts", NO_PATH), *path_option("output", output), "--quiet"]
    words += [*joined_option("layers", layers, "layers"), *joined_option("query-spans", query_spans, "query_spans")]
    words += [*option("dtype", dtype), *flag("gzip", gzip), *flag("no-output-projection", not output_projection)]
    words += [*option("model-id", model_id), *flag("force", force), *more]
    options = build_parser().parse_args(words)
    options.output = Path(output)
    return options
