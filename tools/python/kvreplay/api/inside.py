"""The replay command inside of Python's process: for parts of policies that are written in Python, and for many small
replays."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..common.kvreplay_module import load_core
from ..common.kvreplay_program import progress_ms, run_kvreplay
from ..parts.part import parts_named
from .program_run import Runs


def runner_for(policies: object, inside: bool | None) -> Runs:
    """What runs a replay of these policies. inside: None, where one of them is written in Python. Throws UsageError where
    the extension module is needed and is not there."""
    parts = parts_named(() if policies is None else policies)
    if not (bool(parts) if inside is None else inside or parts):
        return run_kvreplay
    core = load_core()

    def run(words: Sequence[str], heard: Callable[[str], None]) -> str:
        return core.replay(list(words[1:]), [part.row() for part in parts], heard, progress_ms())

    return run
