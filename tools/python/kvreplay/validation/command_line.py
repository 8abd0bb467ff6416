"""The command line of kvreplay validate."""

from __future__ import annotations

import argparse
from pathlib import Path

from .. import VERSION
from ..common.command_line import OneLineParser, add_model_options
from ..common.kvreplay_program import FILES_HELP

PROGRAM = "kvreplay validate"
SUMMARY = "Measures what the evictions of a replay do to the live model, and how well the replay foretold it."

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
    parser = OneLineParser(PROGRAM, SUMMARY, NOTES)
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
