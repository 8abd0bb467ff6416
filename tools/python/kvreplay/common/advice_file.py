"""Files of advice, as `kvreplay advise --save` writes them (docs/formats/advice.md)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from .errors import InputError, first_line

FORMAT, MAJOR = "kvreplay-advice", "1"


@dataclass(frozen=True)
class AdviceFile:
    """policy: in the words of `kvreplay replay`; budget: share of the cache, above 0, up to 1"""

    policy: str
    budget: float
    model_id: str
    compression_point: str


def is_advice(path: Path) -> bool:
    """Whether a file is there and begins as JSON, which no HDF5 file does."""
    try:
        with open(path, "rb") as file:
            return file.read(1) == b"{"
    except OSError:
        return False


def read_advice(path: Path) -> AdviceFile:
    """Throws InputError for another format, and for advice that names no policy."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: {first_line(error)}") from error
    found = said.get("format") if isinstance(said, dict) else None
    if found != FORMAT or str(said.get("format_version")).split(".")[0] != MAJOR:
        version = said.get("format_version") if found == FORMAT else ""
        raise InputError(f"{path}: expected {FORMAT} {MAJOR}, found {f'{found} {version}'.strip()!r}")
    policy, budget = said.get("policy"), said.get("budget")
    if policy is None:
        raise InputError(f"{path}: it names no policy: none of those that were replayed had an answer")
    if not isinstance(policy, str) or not isinstance(budget, (int, float)) or not 0 < budget <= 1:
        raise InputError(f"{path}: expected a policy and a budget above 0, up to 1, found {policy!r} and {budget!r}")
    return AdviceFile(policy, float(budget), str(said.get("model_id")), str(said.get("compression_point")))
