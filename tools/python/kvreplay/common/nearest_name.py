"""Names that a user mistyped: one message for every table of names, in the words of the program kvreplay."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


def unknown_name(kind: str, name: object, known: Sequence[object]) -> str:
    """ "unknown KIND 'NAME'; did you mean 'X'? known: A, B, C", without the question where nothing is near."""
    message, names = f"unknown {kind} '{name}'", [str(each) for each in known]
    if not names:
        return f"{message}; there are none"
    near = difflib.get_close_matches(str(name), names, n=1)
    return f"{message}; {f'did you mean {near[0]!r}? ' if near else ''}known: {', '.join(names)}"
