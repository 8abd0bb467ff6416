"""Records the attention of a Hugging Face causal language model as a kvreplay trace.

    kvreplay record --model MODEL --prompts FILE.jsonl --output trace.h5

The model reads each prompt with its whole cache and decodes an answer; queries, keys and values of the chosen layers
are stored as the attention saw them. A trace has the format of docs/formats/trace.md.
"""

from __future__ import annotations

import sys

from ..common.program import run_program, stop_cleanly_on_terminate
from ..recorder.command_line import PROGRAM, build_parser
from ..recorder.prompt_recording import record


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code. Every error is one line on stderr."""
    return run_program(PROGRAM, lambda: record(build_parser().parse_args(arguments)))


def command() -> int:
    """The console script."""
    stop_cleanly_on_terminate()
    return main()


if __name__ == "__main__":
    sys.exit(command())
