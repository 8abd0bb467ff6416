"""Measures what the evictions of a replay do to the live model, and how well the replay foretold it.

    kvreplay replay trace.h5 --budget 0.1,0.25,0.5,0.75 -o results.h5 --save-retained retained.h5
    kvreplay validate --model MODEL --replay trace.h5 results.h5 retained.h5

The model reads the tokens of each sample up to the compression point with its whole cache, and those from there on once
with the whole cache and once for each policy and budget with only the retained tokens before the point, in all layers
at once: what a replay, which looks at each layer by itself, cannot see.
"""

from __future__ import annotations

import sys

from ..common.program import run_program, stop_cleanly_on_terminate
from ..validation.command_line import PROGRAM, build_parser
from ..validation.validating import validate


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code. Every error is one line on stderr."""
    return run_program(PROGRAM, lambda: validate(build_parser().parse_args(arguments)))


def command() -> int:
    """The console script."""
    stop_cleanly_on_terminate()
    return main()


if __name__ == "__main__":
    sys.exit(command())
