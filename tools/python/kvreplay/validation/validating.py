"""Runs the evictions of replays in the live model, and says how well the replays foretold it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.errors import InputError
from ..common.file_roles import check_outputs
from ..common.printable import printable, printable_lines
from ..common.program import start_torch
from ..common.progress import Progress
from .command_line import PROGRAM

if TYPE_CHECKING:
    from ..common.model_to_run import ModelToRun
    from .study import Study


def validate(options: argparse.Namespace) -> None:
    """Measures all replays and reports, as the command does."""
    check_files(options, [options.model])
    with Progress() as progress:
        progress.show("loading PyTorch and the model")
        start_torch(options.threads, options.device)
        # Only now what needs it.
        from ..common.model_to_run import ModelOfFiles
        from .report import text_report

        study = measure(options, ModelOfFiles(options), progress, _note)
    print(printable_lines(text_report(study, options.rows)))
    write_outputs(study, options)


def check_files(options: argparse.Namespace, models: list[Path]) -> None:
    outputs = [output for output in (options.csv, options.json) if output is not None]
    check_outputs(outputs, [*models, *(path for files in options.replay for path in files)], options.force)


def measure(options: argparse.Namespace, source: ModelToRun, progress: Progress, note: Callable[[str], None]) -> Study:
    """Runs the evictions of all replays. `options`: of the command; of the model `source` alone is asked."""
    from .live_model import LiveCase
    from .replay_files import Replay
    from .study import Study

    replays = [Replay(*files) for files in options.replay]
    study = Study()
    with source.hooked() as (model, hook):
        for replay in replays:
            _check_model(model, replay)
            if replay.unreplayed:
                progress.clear()
                note(f"{replay.results_path}: {replay.unreplayed} layers were not replayed; they keep everything")

            def open_case(case, replay=replay) -> LiveCase:
                live = LiveCase(model, hook, case)
                live.check(replay.trace, replay.layers)
                return live

            study.add(
                replay,
                options.policy,
                options.budget,
                open_case,
                lambda case, done, n: progress.show(f"{case.name}: {done} of {n} evictions"),
            )
            progress.clear()
            replay.close()
    return study


def write_outputs(study: Study, options: argparse.Namespace) -> None:
    """The files of --csv and --json."""
    from .report import write_csv, write_json

    for path, write in ((options.csv, write_csv), (options.json, write_json)):
        if path is not None:
            temporary = path.with_name(path.name + ".tmp")
            try:
                with open(temporary, "w", encoding="utf-8") as file:
                    write(study, file)
                os.replace(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)


def _check_model(model, replay) -> None:
    config, trace = model.config.get_text_config(), replay.trace
    for name, found in (("n_layers", config.num_hidden_layers), ("n_q_heads", config.num_attention_heads),
                        ("hidden_size", config.hidden_size)):  # fmt: skip
        if int(trace.attrs[name]) != found:
            raise InputError(f"{replay.trace_path}: {name} is {trace.attrs[name]}, in the model {found}")
    largest = max(max(case.token_ids) for case in replay.cases)
    if largest >= config.vocab_size:
        raise InputError(f"{replay.trace_path}: token {largest}, the model has {config.vocab_size}")


def _note(message: str) -> None:
    print(f"{PROGRAM}: note: {printable(message)}", file=sys.stderr)
