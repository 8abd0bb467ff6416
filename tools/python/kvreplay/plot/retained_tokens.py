"""What a file of retained sets says of one prompt (docs/formats/retained.md)."""

from __future__ import annotations

import json
import os
from pathlib import Path

import h5py
import numpy as np

from ..common.errors import InputError, UsageError, first_line
from ..common.inspected_file import open_inspected
from ..common.kvreplay_program import run_kvreplay
from ..common.nearest_name import unknown_name
from .token_text import Span, TokenText

FORMAT = "kvreplay-retained"
UNKNOWN_TEXT = "▪"
MOST_POSITIONS = 2**27  # of a prompt: what lies beyond is no position, and would take all memory


def tokens(
    sets: str | os.PathLike,
    case: str,
    policy: str,
    budget: float = 0.1,
    trace: str | os.PathLike | None = None,
) -> TokenText:
    """The tokens before a compression point, shaded by the share of the sets (one for each layer and head) that keep
    them; spans are underlined.

    sets: what `kvreplay replay --save-retained` wrote
    case: "SAMPLE@POINT"
    policy: as the results name it
    budget: the nearest is taken; where budgets are tokens, a number below 1 is a share of them
    trace: the trace of that replay: for sets of format 1.0, which do not hold what the tokens say

    Throws UsageError for names that the file does not have, with the nearest, and where a trace is needed; InputError
    for a file of another format, or sets that are not of this trace.
    """
    try:
        with open_inspected(Path(sets)) as file:
            check_format(file, Path(sets), FORMAT)
            if "prompts" in file:
                return _read(file, Path(sets), file["prompts"], case, policy, budget)
            if trace is None:
                raise UsageError(
                    f"{sets}: is of format 1.0 and does not hold what the tokens say: name its trace, trace="
                )
            with open_inspected(Path(trace)) as traced:
                check_format(traced, Path(trace), "kvreplay-trace")
                check_trace(Path(trace), file, Path(sets))
                return _read(file, Path(sets), traced["samples"], case, policy, budget)
    except KeyError as error:
        raise InputError(f"{sets}: not complete: {first_line(error)}") from error


def check_format(file: h5py.File, path: Path, expected: str) -> None:
    found = file.attrs.get("format")
    if found != expected:
        raise InputError(f"{path}: expected a file of the format {expected}, found {found}")


def check_trace(trace: Path, file: h5py.File, sets: Path) -> None:
    """Throws InputError unless the sets are of this trace alone, which the options tell by its fingerprint: samples are
    numbered by those of one trace."""
    (told,) = json.loads(run_kvreplay(["inspect", "--quick", "--json", "--", str(trace)]))["files"]
    expected = options_of(file, sets).get("traces")
    if expected != [told["fingerprint"]]:
        raise InputError(f"{sets}: is not of the trace {trace}: it is of {expected}, that is {told['fingerprint']}")


def _read(file: h5py.File, path: Path, prompts: h5py.Group, case: str, policy: str, budget: float) -> TokenText:
    """prompts: a group for each sample, with its name, and with texts and spans if it has some."""
    names = {number: str(group.attrs["name"]) for number, group in prompts.items()}
    points = {number: file["samples"].get(number, ()) for number in names}
    cases = {f"{names[number]}@{point}": (number, point) for number, group in points.items() for point in group}
    if case not in cases:
        raise UsageError(unknown_name("case", case, list(cases)) + f" (in {path})")
    number, point = cases[case]
    layers = [layer["retained"] for layer in file[f"samples/{number}/{point}/layers"].values()]
    policies = list(dict.fromkeys(name for layer in layers for name in layer))
    if policy not in policies:
        raise UsageError(unknown_name("policy", policy, policies) + f" (in {path}, {case})")
    datasets = [layer[policy] for layer in layers if policy in layer]
    n_tokens = _end_of(datasets, path)
    at, words = nearest_budget(file, path, budget, n_tokens)
    kept, held = np.zeros(n_tokens), np.zeros(n_tokens)
    for dataset in datasets:
        if at >= len(dataset):
            raise InputError(f"{path}: {dataset.name} has {len(dataset)} budgets, the options {at + 1} or more")
        kept[n_tokens - dataset.shape[2] :] += (dataset[at] != 0).sum(axis=0)
        held[n_tokens - dataset.shape[2] :] += dataset.shape[1]
    with np.errstate(invalid="ignore"):
        share = kept / held  # 0 / 0 where no layer's window reaches
    prompt = prompts[number]
    texts = prompt["token_texts"].asstr(errors="replace")[:n_tokens].tolist() if "token_texts" in prompt else []
    texts += [UNKNOWN_TEXT] * (n_tokens - len(texts))
    n_sets = sum(dataset.shape[1] for dataset in datasets)
    return TokenText(case, policy, words, n_sets, texts, share, _spans(prompt, n_tokens))


def _end_of(datasets: list[h5py.Dataset], path: Path) -> int:
    """The compression point, where the candidates of all layers end. Throws InputError."""
    ends = {first_position(dataset) + dataset.shape[2] for dataset in datasets}
    if len(ends) != 1 or max(ends) > MOST_POSITIONS:
        raise InputError(f"{path}: expected the sets of all layers to end at one position, found {sorted(ends)}")
    return ends.pop()


def first_position(sets: h5py.Dataset) -> int:
    """Of candidate 0 of sets [budget, head, token]. Throws InputError."""
    first = str(sets.attrs.get("first_position", "nothing"))
    if sets.ndim != 3 or not first.isdecimal():
        raise InputError(
            f"{sets.file.filename}: {sets.name}: expected [budget, head, token] from a first position on, found the shape "
            f"{sets.shape} from '{first}' on"
        )
    return int(first)


def _spans(prompt: h5py.Group, n_tokens: int) -> list[Span]:
    """Those that begin before the compression point."""
    if "spans" not in prompt:
        return []
    group = prompt["spans"]
    names, begins, ends = group["name"].asstr()[()].tolist(), group["begin"][()].tolist(), group["end"][()].tolist()
    return [Span(name, begin, min(end, n_tokens)) for name, begin, end in zip(names, begins, ends) if begin < n_tokens]


def nearest_budget(file: h5py.File, path: Path, wanted: float, n_tokens: int) -> tuple[int, str]:
    """Index and words of it."""
    budgets, kind = budgets_of(file, path)
    shares = budgets / n_tokens if kind == "tokens" and wanted < 1 else budgets
    at = int(np.argmin(np.abs(shares - wanted)))
    return at, f"{budgets[at]:g} tokens" if kind == "tokens" else f"{100 * budgets[at]:.3g} %"


def options_of(file: h5py.File, path: Path) -> dict:
    """Of the replay that saved the sets. Throws InputError."""
    try:
        options = json.loads(file.attrs["options"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: attribute options: expected those of a replay ({first_line(error)})") from error
    if not isinstance(options, dict):
        raise InputError(f"{path}: attribute options: expected an object, found {type(options).__name__}")
    return options


def budgets_of(file: h5py.File, path: Path) -> tuple[np.ndarray, str]:
    """The budgets of the sets, fractions kept or tokens, and their kind: those of the replay's options. Throws
    InputError."""
    options = options_of(file, path)
    try:
        budgets, kind = np.array(options["budgets"], dtype=float), options["budget_kind"]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: attribute options: expected the budgets of a replay ({error})") from error
    if budgets.ndim != 1 or len(budgets) == 0:
        raise InputError(f"{path}: attribute options: expected a list of budgets, found {budgets.tolist()}")
    return (1 - budgets if kind == "compression_ratio" else budgets), str(kind)
