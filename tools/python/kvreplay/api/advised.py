"""Which policy and which budget, as `kvreplay advise` says it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from .program_run import ProgressWish, run_logged
from .words import Number, PathLike, Text, each_option, flag, joined_option, option, path_option, path_words

COLUMNS = [
    "policy",
    "share",
    "low",
    "high",
    "budget",
    "bytes",
    "loss",
    "loss_low",
    "loss_high",
    "answers",
    "at_smallest",
    "tied",
]


@dataclass(frozen=True)
class Advice:
    """policy: the best one, in the words of `kvreplay replay`; None where none has an answer
    budget: to ask for, a share of the cache
    interval: 95 %, over prompts: of the share that it keeps, or, for `bytes=`, of its loss in nats; None for one prompt
    table: pandas, best first: policy, share (the smallest that holds the loss, or what the bytes are), low and high (its
        interval), budget (to ask for), bytes (of a prompt), loss, loss_low, loss_high (nats, where the best policy's share is
        kept), answers (whether it has one), at_smallest (its smallest budget holds the loss already), tied (cannot be told
        from the best)
    json: everything that the program says; `apply_live` takes it as a file. text: the same for people
    """

    policy: str | None
    budget: float | None
    interval: tuple[float, float] | None
    table: pd.DataFrame
    json: dict
    text: str

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(self.text)}</pre>"


def advise(
    traces: PathLike | Iterable[PathLike],
    loss: float | None = None,
    *,
    bytes: str | int | None = None,  # noqa: A002, the option's name
    policies: Text | None = None,
    budgets: str | Number | Iterable[str | Number] | None = None,
    compression_point: str | int | None = None,
    samples: Text | None = None,
    layers: int | str | Iterable[int | str] | None = None,
    seed: int | None = None,
    model: PathLike | None = None,
    save: PathLike | None = None,
    output: PathLike | None = None,
    backend: str | None = None,
    threads: int | None = None,
    memory: str | int | None = None,
    force: bool = False,
    progress: ProgressWish = None,
) -> Advice:
    """Says which policy to use and how small the cache may be, by predicted KL, as `kvreplay advise` does.

    traces: with sensitivities; or results of a replay, which need no other argument than loss or bytes
    loss: nats per token, mean over all prompts, that the cache may cost; default: 0.05
    bytes: instead, what the cache of a prompt as long as these may weigh: a number, or a text, "20MB"
    policies, budgets, samples, layers, seed: as for `kvreplay.replay`; default: all policies that could run live
    compression_point: a name or a position; default: the last one of the traces
    model: its path, for the commands that verify the advice (`.json["commands"]`)
    save: writes the advice there. output: keeps the results of the replay there. force: overwrites both
    backend, threads, memory, progress: as for `kvreplay.replay`

    Throws UsageError for what cannot be meant, InputError for traces without sensitivities or of several models."""
    words = [*option("loss", loss), *option("bytes", bytes), *each_option("policy", policies, "policies")]
    words += [*joined_option("budget", budgets, "budgets"), *option("compression-point", compression_point)]
    words += [*each_option("sample", samples, "samples"), *joined_option("layer", layers, "layers")]
    words += [*option("seed", seed), *path_option("model", model), *path_option("output", output)]
    words += [*option("backend", backend), *option("threads", threads), *option("memory", memory)]
    words += flag("force", force)
    with tempfile.TemporaryDirectory(prefix="kvreplay-") as folder:
        file = Path(folder, "advice.json") if save is None else Path(save)
        text = run_logged(["advise", *words, *path_option("save", file), "--", *path_words(traces, "traces")], progress)
        said = json.loads(file.read_text(encoding="utf-8"))
    return Advice(said["policy"], said["budget"], _interval(said), _table(said), said, text)


def _interval(said: dict) -> tuple[float, float] | None:
    found = said["interval"] if "loss" in said["asked"] else said["loss_interval"]
    return None if found is None else (found[0], found[1])


def _table(said: dict) -> pd.DataFrame:
    rows = []
    for row in said["table"]:
        low, high = row["interval"] or (None, None)
        loss_low, loss_high = row["loss_interval"] or (None, None)
        rows.append(row | {"low": low, "high": high, "loss_low": loss_low, "loss_high": loss_high})
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.astype({name: float for name in COLUMNS[1:9]})
