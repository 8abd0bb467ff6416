"""Opens HDF5 files of others: `kvreplay inspect` reads each one first, in a confined process, as a file made to do harm
gets at its reader through the HDF5 library, and here that is not confined."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import h5py

from .errors import InputError, first_line
from .kvreplay_program import find_program, last_line
from .program import EXIT_INPUT

_inspected: set[tuple[int, ...]] = set()  # by this process


def open_inspected(path: Path) -> h5py.File:
    """The file, open for reading. Throws InputError where it is no regular file or `kvreplay inspect` refuses it,
    UsageError where that program is not found. KVREPLAY_TRUST_INPUT=1 opens it uninspected."""
    identity = _identity(path)
    if identity not in _inspected and os.environ.get("KVREPLAY_TRUST_INPUT") != "1":
        _inspect(path)
        _inspected.add(identity)
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"{path}: {first_line(error)}") from error


def _identity(path: Path) -> tuple[int, ...]:
    """Which file it is, with which content."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for
        raise InputError(f"{path}: is not a regular file")
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _inspect(path: Path) -> None:
    program = find_program()
    # With the values of traces: h5py unpacks whatever a chunk says that it holds.
    command = [program, "inspect", "--", path]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if done.returncode == 0:
        return
    reason = last_line(done.stderr.decode("utf-8", "backslashreplace"))
    if done.returncode == EXIT_INPUT and reason:
        raise InputError(reason)
    ended = f"{program} inspect ended with {done.returncode}"  # below 0: by a signal
    raise InputError(f"{path}: {ended}: {reason}" if reason else f"{path}: {ended}")
