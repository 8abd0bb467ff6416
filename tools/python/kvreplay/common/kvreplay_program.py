"""Where the program kvreplay is, which the Python programs call."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from .errors import UsageError

CHECKOUT = Path(__file__).parents[4]  # of the sources, where the package lies in its place among them

FILES_HELP = """\
files: before an HDF5 file is opened, `kvreplay inspect` checks it, once. The program is what KVREPLAY_PROGRAM
names; else `kvreplay` beside the Python interpreter, on the PATH, or in the folder build of the sources.
KVREPLAY_TRUST_INPUT=1 opens files unchecked: for your own files alone.
"""


def find_program() -> str:
    """The path of the program, as FILES_HELP says. Throws UsageError where there is none."""
    named = os.environ.get("KVREPLAY_PROGRAM")
    if named:
        if not _is_program(named):
            raise UsageError(f"KVREPLAY_PROGRAM: {named} is no program")
        return os.path.abspath(named)
    for path in (Path(sys.executable).with_name("kvreplay"), shutil.which("kvreplay"), CHECKOUT / "build" / "kvreplay"):
        if path is not None and _is_program(path):
            return str(path)
    raise UsageError(
        "the program kvreplay, which checks files before they are opened, is not found: build it (bash tools/demo.sh), "
        "then put it on the PATH or name it in KVREPLAY_PROGRAM; KVREPLAY_TRUST_INPUT=1 opens files unchecked"
    )


def _is_program(path: str | Path) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)
