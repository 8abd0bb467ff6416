"""The command line of kvreplay train."""

from __future__ import annotations

import argparse
from pathlib import Path

from .. import VERSION
from ..common.command_line import OneLineParser, add_threads_option, positive_number
from ..common.kvreplay_program import FILES_HELP

PROGRAM = "kvreplay train"
SUMMARY = (
    "Learns which tokens a model's heads will look at again, from recorded traces, and writes a scorer for `kvreplay`."
)

EPILOG = f"""\
traces: recorded with all prompt keys and values and decoded tokens (kvreplay record); 16 prompts of 1-2k tokens of
mixed kinds are a good set (tools/make_training_traces.sh records one). All are of one model. A prompt counts once.

folds: besides the network that has seen all prompts, two are trained that have seen one half each, every second
prompt. Budgets for a learned scorer are fitted with them: each prompt is ranked by the network that has not seen it.

{FILES_HELP}
exit codes: 0 ok, 1 failure, 2 usage, 3 the traces cannot be learned from
"""


def build_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(PROGRAM, SUMMARY, EPILOG)
    add = parser.add_argument
    add("traces", nargs="+", type=Path, metavar="TRACE", help="traces to learn from")
    add("-o", "--output", required=True, type=Path, metavar="FILE", help="scorer to write (docs/formats/learned.md)")
    add("--held-out", nargs="+", type=Path, default=[], metavar="TRACE", help="traces to report on, not learned from")
    add("--queries", action="store_true", help="also see the attention of the last 64 prompt queries: scorer lkv-q")
    add("--end-to-end", action="store_true", help="second stage: through a soft top-k to the attention output")
    add("--no-folds", action="store_true", help="leave out the networks trained on halves")
    add(
        "--steps",
        type=positive_number,
        metavar="N",
        help="of stage 1, a prompt each (default: 10 per prompt, at least 80)",
    )
    add("--learning-rate", type=_rate, default=3e-3, metavar="X", help="of stage 1 (default: 3e-3)")
    add("--seed", type=_whole, default=1, metavar="N", help="of everything random (default: 1)")
    add_threads_option(parser)
    add("--force", action="store_true", help="replace the output if it exists")
    add("--quiet", action="store_true", help="no progress")
    add("--version", action="version", version=f"{PROGRAM} {VERSION}")
    return parser


def _whole(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**31:
        raise argparse.ArgumentTypeError(f"expected a whole number below 2^31, found '{text}'")
    return int(text)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a number, found '{text}'") from error
    if not 0 < rate <= 1:
        raise argparse.ArgumentTypeError(f"expected a number above 0 and up to 1, found '{text}'")
    return rate
