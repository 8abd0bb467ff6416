"""Learns which tokens a model's heads will look at again, from recorded traces, and writes a scorer for `kvreplay`.

    kvreplay train TRACE... --held-out TRACE... --output lkv.h5

Each KV head gets a small network that ranks a token by its key, value and place alone: no queries, no attention
matrix. It is trained on the attention that the decoded tokens of the traces paid (LKV-T, arXiv 2605.06676, after its
published description).
"""

from __future__ import annotations

import sys

from ..common.program import run_program, stop_cleanly_on_terminate
from ..learning.command_line import PROGRAM, build_parser
from ..learning.training import train


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code. Every error is one line on stderr."""
    return run_program(PROGRAM, lambda: train(build_parser().parse_args(arguments)))


def command() -> int:
    """The console script."""
    stop_cleanly_on_terminate()
    return main()


if __name__ == "__main__":
    sys.exit(command())
