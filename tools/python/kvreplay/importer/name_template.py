"""Names with {layer} and {sample} in them, of tensors and of files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..common.errors import InputError

PLACE = re.compile(r"\{([^{}]*)\}|(\*)")
PATTERNS = {"layer": r"(?P<layer>\d{1,7})", "sample": r"(?P<sample>[^/]+)"}


@dataclass(frozen=True)
class Match:
    layer: int | None
    sample: str | None


class NameTemplate:
    """Stands for every name that has something in its places. `*` stands for anything."""

    def __init__(self, text: str, where: str):
        self.text = text
        self.places: set[str] = set()
        expression, end = "", 0
        for found in PLACE.finditer(text):
            expression += re.escape(text[end : found.start()])
            end = found.end()
            place = found.group(1)
            if place is None:
                expression += "[^/]*"
                continue
            if place not in PATTERNS:
                raise InputError(f"{where}: expected {{layer}} or {{sample}} in '{text}', found '{{{place}}}'")
            if place in self.places:
                raise InputError(f"{where}: '{text}' has {{{place}}} twice")
            self.places.add(place)
            expression += PATTERNS[place]
        self._expression = re.compile(expression + re.escape(text[end:]), re.DOTALL)

    def match(self, name: str) -> Match | None:
        found = self._expression.fullmatch(name)
        if found is None:
            return None
        groups = found.groupdict()
        return Match(int(groups["layer"]) if "layer" in groups else None, groups.get("sample"))

    def match_path(self, path: Path) -> Match | None:
        """The last parts of the path, as many as the template has."""
        return self.match("/".join(path.absolute().parts[-(self.text.count("/") + 1) :]))

    def filled(self, layer: int | None, sample: str | None) -> str:
        """For messages: what was looked for."""
        text = self.text if layer is None else self.text.replace("{layer}", str(layer))
        return text if sample is None else text.replace("{sample}", sample)
