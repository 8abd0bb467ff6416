"""The two kinds of errors that are the caller's to mend. Their messages are one line each."""


class UsageError(Exception):
    """The command line asks for something that cannot be done. Exit code 2."""


class InputError(Exception):
    """The model, the prompts or their values cannot be recorded faithfully. Exit code 3."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message: libraries add paragraphs of advice that help nobody here."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
