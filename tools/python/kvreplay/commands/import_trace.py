"""Makes a kvreplay trace of keys, values and queries that another program left.

    kvreplay import MAP FILES... --config config.json --output trace.h5

A map says what the tensors are called and how their axes are ordered. docs/importing.md describes maps.
"""

from __future__ import annotations

import sys

from ..common.program import run_program, stop_cleanly_on_terminate
from ..importer.command_line import PROGRAM, build_parser
from ..importer.importing import import_as_asked


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code. Every error is one line on stderr."""
    return run_program(PROGRAM, lambda: import_as_asked(build_parser().parse_args(arguments)))


def command() -> int:
    """The console script."""
    stop_cleanly_on_terminate()
    return main()


if __name__ == "__main__":
    sys.exit(command())
