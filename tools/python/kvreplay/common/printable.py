"""Text of files on its way to a terminal, which would act on its control characters."""


def printable(text: str) -> str:
    """The text with escapes for what is not printable, as the program kvreplay writes them: "\\x1b", "\\n", "\\u202e"."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def printable_lines(text: str) -> str:
    """The same for a text of several lines, which stay apart."""
    return "\n".join(map(printable, text.split("\n")))
