"""What a program reads and what it will write: nothing may be both, and what is read is a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from .errors import InputError, UsageError


def check_input(path: Path) -> None:
    """Throws InputError where `path` is a pipe or a device: a program might wait for it for ever."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise InputError(f"{path}: is not a regular file")


def check_outputs(outputs: Sequence[Path], inputs: Iterable[Path], force: bool) -> None:
    """Throws UsageError where an output cannot be written, exists and is not to be replaced, is an input, or is another
    output: by device and inode, so that other spellings, symbolic links and hard links of a file count as the file. A
    folder among the inputs stands for the files in it; the temporary file beside an output counts as written. Throws
    InputError where an input is no regular file."""
    read = {}
    for path in _files_of(inputs):
        check_input(path)
        read[_identity(path)] = path
    written: dict[tuple, Path] = {}
    for output in outputs:
        for path in (output, output.with_name(output.name + ".tmp")):
            identity = _identity(path)
            if identity in read:
                raise UsageError(f"{output}: {read[identity]} is read, and would be lost")
            if identity in written:
                raise UsageError(f"{written[identity]} and {output} are one file: give two")
            written[identity] = output
        _check_output(output, force)


def _check_output(path: Path, force: bool) -> None:
    if path.exists() and not path.is_file():  # a rename would replace a device or a pipe
        raise UsageError(f"{path} is not a regular file")
    if path.exists() and not force:
        raise UsageError(f"{path} exists; --force replaces it")
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent} is not a directory")


def _files_of(inputs: Iterable[Path]) -> Iterable[Path]:
    for path in inputs:
        if path.is_dir():
            yield from (each for each in path.iterdir() if each.is_file())
        else:
            yield path


def _identity(path: Path) -> tuple:
    """Which file a path names, whether there is one or not."""
    try:
        status = path.stat()
        return (status.st_dev, status.st_ino, "")
    except OSError:
        whole = path.resolve()  # a link to nothing is followed
    try:
        status = whole.parent.stat()
        return (status.st_dev, status.st_ino, whole.name)
    except OSError:
        return (0, 0, str(whole))
