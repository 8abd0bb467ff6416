"""Checking replays against the live model from Python."""

from __future__ import annotations

import io
import json as json_text
import logging
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from ..common.errors import UsageError
from ..common.printable import printable_lines
from ..common.program import torch_threads
from ..common.progress import Progress
from ..validation.command_line import build_parser
from ..validation.validating import check_files, measure, write_outputs
from .opened_results import result_paths
from .recorder_options import NO_PATH
from .words import Number, PathLike, flag, joined_option, listed, option, path_option, path_word

if TYPE_CHECKING:
    import torch
    import xarray
    from transformers import PreTrainedModel

LOG = logging.getLogger("kvreplay")
ReplayFiles = tuple[PathLike, "PathLike | xarray.Dataset", PathLike]


@dataclass(frozen=True)
class Validation:
    """rows: pandas, one for each case, policy and budget: trace, case, policy, budget, true_kl and nll_increase (nats, means
        over the scored predictions), keeps_all, and a column for each metric of the results
    agreement: pandas, one row for each metric: spearman, n_groups, pairs_right, n_pairs, scale, factor, factor_p90
    json: what the command writes with --json
    text: what the command prints
    """

    rows: pd.DataFrame
    agreement: pd.DataFrame
    json: dict
    text: str

    def __repr__(self) -> str:
        return self.text


def validate(
    model: PathLike | PreTrainedModel,
    replays: ReplayFiles | Iterable[ReplayFiles],
    *,
    policies: str | Iterable[str] | None = None,
    budgets: Number | Iterable[Number] | None = None,
    csv: PathLike | None = None,
    json: PathLike | None = None,
    compute_dtype: str = "float32",
    device: str | torch.device = "cpu",
    allow_pickled_weights: bool = False,
    threads: int | None = None,
    force: bool = False,
    progress: bool | None = None,
) -> Validation:
    """Runs the live model with the tokens that policies retained, as `kvreplay validate` does, and says how well the
    replay foretold what the evictions do to its predictions.

    model: a causal language model of transformers, which is as it was afterwards; or the path of a folder or a .gguf
        file. Only then compute_dtype, device, threads and allow_pickled_weights count
    replays: (trace, results, retained): a trace, the results of its replay (a path, or a dataset that a file holds), and
        the sets that the replay saved; or a list of such
    policies, budgets: as in the results; None for all
    csv, json: files that are written, too. force: replaces them
    progress: True shows it on stderr, False does not; None: where stderr is a terminal. Notes go to the log `kvreplay`

    Throws UsageError for options that cannot be meant, InputError where files and model do not fit."""
    is_live = not isinstance(model, (str, os.PathLike))
    words = [*path_option("model", NO_PATH if is_live else model), *path_option("csv", csv), *path_option("json", json)]
    words += [*option("compute-dtype", compute_dtype), *option("device", device), *flag("force", force)]
    words += [*option("threads", threads), *flag("allow-pickled-weights", allow_pickled_weights)]
    words += joined_option("budget", budgets, "budgets")
    for trace, results, retained in _triples(replays):
        words += ["--replay", path_word(trace), *result_paths(results), path_word(retained)]
    options = build_parser().parse_args(words)
    options.policy = None if policies is None else list(map(str, listed(policies, "policies")))
    check_files(options, [] if is_live else [options.model])

    from ..common.model_to_run import LiveModel, ModelOfFiles
    from ..validation.report import text_report, write_json

    shown = sys.stderr.isatty() if progress is None else progress
    with Progress(quiet=not shown) as line, torch_threads(threads):
        line.show("loading the model")
        source = LiveModel(model, None, None) if is_live else ModelOfFiles(options)
        study = measure(options, source, line, lambda text: LOG.info("%s", text))
    write_outputs(study, options)
    document = io.StringIO()
    write_json(study, document)
    said = json_text.loads(document.getvalue())
    rows = pd.DataFrame([{**row, **row.pop("surrogates")} for row in json_text.loads(document.getvalue())["rows"]])
    agreement = pd.DataFrame.from_dict(said["agreement"], orient="index").rename_axis("metric")
    return Validation(rows, agreement, said, printable_lines(text_report(study, with_rows=False)))


def _triples(replays) -> list[tuple]:
    found = list(replays) if isinstance(replays, Iterable) and not isinstance(replays, (str, bytes)) else []
    if len(found) == 3 and not any(isinstance(each, (tuple, list)) for each in found):
        found = [tuple(found)]
    if not found or not all(isinstance(each, (tuple, list)) and len(each) == 3 for each in found):
        raise UsageError(f"replays: expected (trace, results, retained), or a list of such, found {replays!r}")
    return found
