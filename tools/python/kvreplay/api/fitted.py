"""Head budgets, as `kvreplay fit-budgets` learns them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from .program_run import ProgressWish, run_logged
from .words import PathLike, Text, each_option, flag, joined_option, option, path_option, path_words


def fit_budgets(
    traces: PathLike | Iterable[PathLike],
    scorer: str,
    output: PathLike,
    *,
    compression_points: str | int | Iterable[str | int] | None = None,
    samples: Text | None = None,
    layers: int | str | Iterable[int | str] | None = None,
    seed: int = 1,
    metric: str = "auto",
    uniform_mix: float = 0.0,
    least: int = 20,
    sinks: int = 4,
    backend: str | None = None,
    device: int | str | Iterable[int] | None = None,
    threads: int | None = None,
    memory: str | int | None = None,
    force: bool = False,
    progress: ProgressWish = None,
) -> Path:
    """Learns from traces what each head should keep, as `kvreplay fit-budgets` does; returns the path of the table
    (docs/formats/learned.md), which `SCORER+learned:table=FILE` replays on other prompts.

    scorer: ranks the tokens, in the command's words: "snapkv", "lkv:file=lkv.h5,trained=fold"
    compression_points, samples, layers: only these; None for all
    metric: of the damage: "fisher" (needs sensitivities), "abs" or "auto"
    uniform_mix: share of every budget that goes to all heads alike. least: tokens that every head keeps. sinks: of these,
        the first tokens
    backend: "cpu", "cuda" or "auto". device: GPUs by CUDA's numbers. memory: how much may be used, "4GiB"
    force: replaces the table

    Throws UsageError for options that cannot be meant, InputError for traces that cannot be learned from, MachineError
    where the table cannot be written, DeviceError where there is no such GPU."""
    words = [*option("scorer", scorer), *path_option("output", output)]
    words += each_option("compression-point", compression_points, "compression_points")
    words += [*each_option("sample", samples, "samples"), *joined_option("layer", layers, "layers")]
    words += [*option("seed", seed), *option("metric", metric), *option("uniform-mix", uniform_mix)]
    words += [*option("least", least), *option("sinks", sinks), *option("backend", backend)]
    words += [*joined_option("device", device, "device"), *option("threads", threads), *option("memory", memory)]
    run_logged(["fit-budgets", *words, *flag("force", force), "--", *path_words(traces, "traces")], progress)
    return Path(output)
