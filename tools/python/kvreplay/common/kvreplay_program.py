"""The program kvreplay, which the Python half calls: where it is, and how it is run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from .errors import BY_EXIT_CODE, Error, MachineError, UsageError

CHECKOUT = Path(__file__).parents[4]  # of the sources, where the package lies in its place among them

FILES_HELP = """\
files: before an HDF5 file is opened, `kvreplay inspect` checks it, once. The program is what KVREPLAY_PROGRAM
names; else the Python package's own, `kvreplay` beside the Python interpreter, on the PATH, or in the folder build of
the sources.
KVREPLAY_TRUST_INPUT=1 opens files unchecked: for your own files alone.
"""


def find_program() -> str:
    """The path of the program, as FILES_HELP says. Throws UsageError where there is none."""
    named = os.environ.get("KVREPLAY_PROGRAM")
    if named:
        if not _is_program(named):
            raise UsageError(f"KVREPLAY_PROGRAM: {named} is no program")
        if not _is_front(named):
            return os.path.abspath(named)
    for path in _places():
        if _is_program(path) and not _is_front(path):
            return str(path)
    raise UsageError(
        "the program kvreplay, which replays, and checks files before they are opened, is not found: build it (bash tools/demo.sh), "
        "then put it on the PATH or name it in KVREPLAY_PROGRAM; KVREPLAY_TRUST_INPUT=1 opens files unchecked"
    )


def _places() -> Iterator[Path]:
    # In an editable installation the module and the program lie elsewhere than this file.
    module = find_spec("kvreplay._core")
    if module is not None and module.origin is not None:
        yield Path(module.origin).parent / "bin" / "kvreplay"
    yield Path(sys.executable).with_name("kvreplay")
    for folder in filter(None, os.environ.get("PATH", "").split(os.pathsep)):
        yield Path(folder) / "kvreplay"
    yield CHECKOUT / "build" / "kvreplay"


def _is_front(path: str | Path) -> bool:
    """The package's own console script, which would look for the program again."""
    if not os.access(path, os.R_OK):
        return False
    with open(path, "rb") as file:
        return b"kvreplay.__main__" in file.read(1000)


def _is_program(path: str | Path) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)


def progress_ms() -> int:
    """Between two lines of progress: as often as a bar or a line of a terminal moves, or what KVREPLAY_PROGRESS_MS says."""
    given = os.environ.get("KVREPLAY_PROGRESS_MS", "")
    return int(given) if given.isdecimal() and int(given) > 0 else 500


def run_kvreplay(words: Sequence[str], heard: Callable[[str], None] = lambda line: None) -> str:
    """Runs the program; returns what it printed. `heard` gets each line that it says on stderr, at once.

    Throws the error of its exit code, with its one line; MachineError where a signal ended it. Ctrl-C is passed on to
    it, and KeyboardInterrupt raised once it has ended."""
    program = find_program()
    often = os.environ | {"KVREPLAY_PROGRESS_MS": str(progress_ms())}
    streams = {"env": often, "stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    printed: list[bytes] = []
    said: list[str] = []
    try:
        child = subprocess.Popen([program, *words], **streams)
    except OSError as error:
        raise MachineError(f"{program}: cannot be run: {error.strerror}") from error
    except ValueError as error:  # a null character, which no argument may hold
        raise UsageError(f"{program} {words[0]}: {error} in its arguments") from error
    with child:
        # Both streams are read at a time, or the program would wait for room in the other one.
        reader = threading.Thread(target=lambda: printed.append(child.stdout.read()), daemon=True)
        reader.start()
        try:
            for raw in child.stderr:
                line = raw.decode("utf-8", "backslashreplace").rstrip("\n")
                said.append(line)
                heard(line)
            child.wait()
        except BaseException as error:
            # A terminal sends Ctrl-C to the program too, a notebook not always; a second one does no harm.
            child.send_signal(signal.SIGINT if isinstance(error, KeyboardInterrupt) else signal.SIGTERM)
            child.wait()
            raise
        finally:
            reader.join()
    if child.returncode == -signal.SIGINT:
        raise KeyboardInterrupt
    if child.returncode != 0:
        raise _error_of(f"{program} {words[0]}", child.returncode, last_line("\n".join(said)))
    return printed[0].decode("utf-8", "backslashreplace")


def last_line(text: str) -> str:
    """The program's error in what it said on stderr, without its name; "" where it said nothing."""
    lines = text.strip().splitlines()
    return lines[-1].removeprefix("kvreplay: ") if lines else ""


def _error_of(command: str, code: int, reason: str) -> Error:
    if code in BY_EXIT_CODE and reason:
        return BY_EXIT_CODE[code](reason)
    ended = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
    return BY_EXIT_CODE.get(code, MachineError)(f"{command} {ended}" + (f": {reason}" if reason else ""))
