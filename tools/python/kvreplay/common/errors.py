"""The errors of the package, a class for each exit code of the programs. Their messages are one line each."""


class Error(Exception):
    """What the package raises by itself. `exit_code`: the one that a program ends with."""

    exit_code = 1


class MachineError(Error, OSError):
    """The machine fails: a full disk, no memory, a program that was killed. The same call may succeed later."""


class UsageError(Error, ValueError):
    """What is asked for cannot be done: an unknown name, an output that exists, options that exclude each other."""

    exit_code = 2


class InputError(Error, ValueError):
    """A trace, results, a model or prompts are broken, of another format, or cannot be used faithfully."""

    exit_code = 3


class IncompleteError(Error):
    """Pieces of a replay are missing, or are not of one replay."""

    exit_code = 4


class DeviceError(Error, RuntimeError):
    """There is no such GPU, or it failed."""

    exit_code = 5


BY_EXIT_CODE: dict[int, type[Error]] = {
    each.exit_code: each for each in (MachineError, UsageError, InputError, IncompleteError, DeviceError)
}


def first_line(error: BaseException) -> str:
    """The first line of an error's message: libraries add paragraphs of advice that help nobody here."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
