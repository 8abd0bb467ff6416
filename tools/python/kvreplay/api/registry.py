"""The policies and metrics that the program knows."""

from __future__ import annotations

import json

import pandas as pd

from ..common.errors import UsageError
from .program_run import run_logged

KINDS = {"scorers": "scorer", "modifiers": "modifier", "allocators": "allocator", "presets": "preset"}


def policies(name: str | None = None) -> pd.DataFrame | str:
    """Scorers, modifiers, allocators and presets: a row each, by name, with `kind`, `summary`, `paper`, `needs`,
    `policy` (that a preset stands for), `parameters` and `dialects` (lists of objects), and a column for each trait.

    With a name: the text of its page, for print(). Throws UsageError for an unknown one."""
    if name is not None:
        return _page("policies", name)
    rows = [
        {"name": row["name"], "kind": KINDS.get(kind, kind)} | _flat(row)
        for kind, table in policy_tables().items()
        for row in table
    ]
    return pd.DataFrame(rows).set_index("name")


def policy_tables() -> dict[str, list[dict]]:
    """What `kvreplay policies --json` prints: "scorers", "modifiers", "allocators" and "presets", a row for each."""
    return json.loads(run_logged(["policies", "--json"]))


def metrics(name: str | None = None) -> pd.DataFrame | str:
    """What a replay can measure: a row each, by name, with `label`, `summary`, `unit`, `better` ("lower", "higher"),
    `formula`, `axis`, `needs`, `by_request`, `parameters` (a list of objects) and more.

    With a name: the text of its page, for print(). Throws UsageError for an unknown one."""
    if name is not None:
        return _page("metrics", name)
    return pd.DataFrame(json.loads(run_logged(["metrics", "--json"]))).set_index("name")


def _page(command: str, name: str) -> str:
    if not isinstance(name, str) or not name:
        raise UsageError(f"{command}: expected a name, found {name!r}")
    return run_logged([command, "--", name])


def _flat(row: dict) -> dict:
    """Traits stand in columns of their own."""
    return {key: value for key, value in row.items() if key != "traits"} | row.get("traits", {})
