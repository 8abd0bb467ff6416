"""Measures what the evictions of a replay do to the live model, and how well the replay foretold it.

    kvreplay replay trace.h5 --budget 0.1,0.25,0.5,0.75 -o results.h5 --save-retained retained.h5
    kvreplay-validate --model MODEL --replay trace.h5 results.h5 retained.h5

The model reads the tokens of each sample up to the compression point with its whole cache, and those from there on once
with the whole cache and once for each policy and budget with only the retained tokens before the point, in all layers
at once: what a replay, which looks at each layer by itself, cannot see.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from . import VERSION
from .common.command_line import OneLineParser, add_model_options
from .common.errors import InputError
from .common.file_roles import check_outputs
from .common.kvreplay_program import FILES_HELP
from .common.printable import printable, printable_lines
from .common.program import run_program, start_torch, stop_cleanly_on_terminate
from .common.progress import Progress

PROGRAM = "kvreplay-validate"

NOTES = f"""\
measured, in nats, means over the scored predictions (those that the trace's sensitivity scores, or of the decoded
tokens):
  true KL     KL divergence of the next-token distributions, full cache || retained
  dNLL        how much less likely the tokens that followed become (negative: more likely)
Every metric of the results is set beside the true KL. What keeps everything is measured and not compared. Layers that
were not replayed keep everything. Decoded tokens always stay. Several replays: --replay three times a file, each time.

{FILES_HELP}
exit codes: 0 ok, 1 failure, 2 usage, 3 the files or the model do not fit
"""


def build_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(PROGRAM, __doc__.split("\n\n")[0], NOTES)
    add = parser.add_argument
    add("--model", required=True, type=Path, metavar="PATH", help="directory of the model, or its .gguf file")
    add(
        "--replay",
        required=True,
        action="append",
        nargs=3,
        type=Path,
        metavar=("TRACE", "RESULTS", "RETAINED"),
        help="a trace, the results of its replay, and what --save-retained wrote (may be repeated)",
    )
    add("--policy", type=_names, default=None, metavar="LIST", help="policies, as the results name them (default: all)")
    add("--budget", type=_budgets, default=None, metavar="LIST", help="budgets, as in the results (default: all)")
    add("--rows", action="store_true", help="print every single measurement too")
    add("--csv", type=Path, metavar="FILE", help="write every measurement as CSV")
    add("--json", type=Path, metavar="FILE", help="write measurements and agreement as JSON")
    add("--force", action="store_true", help="overwrite outputs")
    add_model_options(parser)
    add("--version", action="version", version=f"{PROGRAM} {VERSION}")
    return parser


def _names(text: str) -> list[str]:
    return text.split(",")


def _budgets(text: str) -> list[float]:
    try:
        return [float(item) for item in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected numbers, found '{text}'") from error


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code. Every error is one line on stderr."""
    return run_program(PROGRAM, lambda: validate(build_parser().parse_args(arguments)))


def command() -> int:
    """The console script."""
    stop_cleanly_on_terminate()
    return main()


def validate(options: argparse.Namespace) -> None:
    """Measures all replays and reports."""
    outputs = [output for output in (options.csv, options.json) if output is not None]
    check_outputs(outputs, [options.model, *(path for files in options.replay for path in files)], options.force)
    with Progress() as progress:
        progress.show("loading PyTorch and the model")
        start_torch(options.threads, options.device)
        # Only now what needs it.
        from .common.attention_hook import ATTENTION_NAME, AttentionHook
        from .common.model_loader import load_model, open_model
        from .validation.live_model import LiveCase
        from .validation.replay_files import Replay
        from .validation.report import text_report, write_csv, write_json
        from .validation.study import Study

        replays = [Replay(*files) for files in options.replay]
        hook = AttentionHook()
        hook.register()
        model = load_model(
            open_model(options.model, None),
            ATTENTION_NAME,
            options.compute_dtype,
            options.device,
            options.allow_pickled_weights,
        )
        study = Study()
        for replay in replays:
            _check_model(model, replay)
            if replay.unreplayed:
                progress.clear()
                _note(f"{replay.results_path}: {replay.unreplayed} layers were not replayed; they keep everything")

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
    print(printable_lines(text_report(study, options.rows)))
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


if __name__ == "__main__":
    sys.exit(command())
