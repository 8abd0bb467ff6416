"""Which tokens every policy keeps, out of a file of retained sets (docs/formats/retained.md)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from ..common.errors import InputError, UsageError, first_line
from ..common.inspected_file import open_inspected
from ..common.nearest_name import unknown_name
from ..plot.retained_tokens import FORMAT, MOST_POSITIONS, budgets_of, check_format, first_position, nearest_budget
from .words import PathLike, path_word

if TYPE_CHECKING:
    import xarray


@dataclass(frozen=True)
class RetainedSets:
    """A file of retained sets; it is opened and read when something is asked. Pickles as its path.

    samples: names, by the number that the file has them under
    points, policies, layers: all that the file has; a case or layer may lack some"""

    path: Path
    samples: dict[str, str]
    points: list[str]
    policies: list[str]
    layers: list[int]

    def positions(
        self,
        *,
        policy: str,
        budget: float,
        layer: int,
        head: int,
        sample: str | None = None,
        point: str | None = None,
    ) -> np.ndarray:
        """Positions that are kept of those before the compression point, ascending, int64 [n_kept]. Tokens from there
        on are kept by every policy.

        budget: the nearest is taken; where budgets are tokens, a number below 1 is a share of them
        head: of the cache; of queries where the policy keeps a set for each query head
        sample, point: may be left out where the file has one

        Throws UsageError for what the file does not have, with the nearest; InputError for a file that is not whole."""
        with self._opened() as file:
            datasets = self._datasets(file, policy, sample, point)
            dataset = datasets[_known("layer", layer, list(datasets))]
            first = first_position(dataset)
            at, _ = nearest_budget(file, self.path, budget, first + dataset.shape[2])
            _known("head", head, range(dataset.shape[1]))
            if at >= len(dataset):
                raise InputError(
                    f"{self.path}: {dataset.name} has {len(dataset)} budgets, the options {at + 1} or more"
                )
            return first + np.flatnonzero(dataset[at, head]).astype(np.int64)

    def array(self, *, policy: str, sample: str | None = None, point: str | None = None) -> xarray.DataArray:
        """What a policy keeps of one prompt, bool [budget, layer, head, position], with positions before the compression
        point. False too where a sliding window does not reach: nothing is there to keep.

        Arguments and errors as for `positions`."""
        import xarray

        with self._opened() as file:
            datasets = self._datasets(file, policy, sample, point)
            budgets, _ = budgets_of(file, self.path)
            firsts = {layer: first_position(dataset) for layer, dataset in datasets.items()}
            ends = {firsts[layer] + dataset.shape[2] for layer, dataset in datasets.items()}
            shapes = {dataset.shape[:2] for dataset in datasets.values()}
            if len(ends) != 1 or len(shapes) != 1 or max(ends) > MOST_POSITIONS:
                raise InputError(f"{self.path}: {policy}: expected layers of one shape that end at one position")
            (end,), ((n_budgets, n_heads),) = ends, shapes
            if n_budgets != len(budgets):
                raise InputError(f"{self.path}: {policy}: expected {len(budgets)} budgets, found {n_budgets}")
            first = min(firsts.values())
            kept = np.zeros((n_budgets, len(datasets), n_heads, end - first), dtype=bool)
            for at, (layer, dataset) in enumerate(datasets.items()):
                kept[:, at, :, firsts[layer] - first :] = dataset[()] != 0
            head_axis = str(next(iter(datasets.values())).attrs.get("head_axis", "kv"))
        return xarray.DataArray(
            kept,
            dims=("budget", "layer", "head", "position"),
            coords={"budget": budgets, "layer": list(datasets), "position": np.arange(first, end)},
            name=policy,
            attrs={"head_axis": head_axis},
        )

    def _opened(self) -> h5py.File:
        return open_inspected(self.path)

    def _datasets(self, file: h5py.File, policy: str, sample: str | None, point: str | None) -> dict[int, h5py.Dataset]:
        """[n_budgets, n_heads, n_candidates] by layer."""
        number = _only("sample", sample, self.samples)
        points = file["samples"][number]
        layers = points[_only("point", point, {name: name for name in points})]["layers"]
        found = {int(name): group["retained"] for name, group in layers.items()}
        known = list(dict.fromkeys(name for group in found.values() for name in group))
        _known("policy", policy, known)
        return {layer: group[policy] for layer, group in sorted(found.items()) if policy in group}


def retained(path: PathLike) -> RetainedSets:
    """The sets that `kvreplay.replay(..., retained=path)` or `kvreplay replay --save-retained` wrote. Throws InputError
    for a file that is broken or of another format."""
    path = Path(os.path.abspath(path_word(path)))
    with open_inspected(path) as file:
        check_format(file, path, FORMAT)
        try:
            names = {number: str(group.attrs["name"]) for number, group in file.get("prompts", {}).items()}
            samples = {number: names.get(number, number) for number in file["samples"]}  # 1.0 has no names
            cases = [file["samples"][number][point] for number in samples for point in file["samples"][number]]
            points = list(dict.fromkeys(point for number in samples for point in file["samples"][number]))
            layers = [(int(name), group) for case in cases for name, group in case["layers"].items()]
            policies = list(dict.fromkeys(policy for _, group in layers for policy in group["retained"]))
        except (KeyError, ValueError, AttributeError) as error:
            raise InputError(f"{path}: not complete: {first_line(error)}") from error
    return RetainedSets(path, samples, points, policies, sorted({layer for layer, _ in layers}))


def _only(kind: str, wanted: str | None, known: dict[str, str]) -> str:
    """The key whose name is wanted; where None is, the only one. Throws UsageError."""
    if wanted is None:
        if len(known) != 1:
            raise UsageError(f"{kind}: name one of {', '.join(known.values())}")
        return next(iter(known))
    _known(kind, wanted, list(known.values()))
    return next(key for key, name in known.items() if name == wanted)


def _known(kind: str, wanted: object, known: Sequence[object]) -> object:
    if wanted not in known:
        raise UsageError(unknown_name(kind, wanted, known))
    return wanted
