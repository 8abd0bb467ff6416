"""Reads what a replay left: its results, the retained sets, and the trace that both were made from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from ..common.errors import InputError, first_line
from ..common.inspected_file import open_inspected
from ..common.prediction_targets import next_token_targets
from ..common.trace_writer import UNKNOWN_TOKEN


def is_contest(name: str, attributes: Mapping[str, object]) -> bool:
    """Whether a metric estimates what is lost. Sizes, and parts of a metric, do not."""
    return bool(
        attributes.get("contest", 1) and attributes.get("formula") != "sum" and name.split(":")[0] != "kept_fraction"
    )


@dataclass
class Case:
    """One compression point of one sample, as far as the model needs it."""

    name: str
    sample: int  # number in the trace
    point: str
    position: int
    token_ids: list[int]
    scored: np.ndarray  # bool [n_queries]: the predictions that count
    decode_start: int
    is_greedy: bool


class Replay:
    """A trace, its results and its retained sets; throws InputError unless they belong together."""

    def __init__(self, trace: Path, results: Path, retained: Path):
        self.trace_path, self.results_path, self.retained_path = trace, results, retained
        self.trace = _open(trace, "kvreplay-trace")
        self.results = _open(results, "kvreplay-results")
        self.retained = _open(retained, "kvreplay-retained")
        try:
            self._read()
        except KeyError as error:
            raise InputError(f"{results}: not complete: {first_line(error)}") from error

    def close(self) -> None:
        for file in (self.trace, self.results, self.retained):
            file.close()

    def _read(self) -> None:
        if self.results.attrs["options"] != self.retained.attrs["options"]:
            raise InputError(f"{self.retained_path}: is not of the same replay as {self.results_path}")
        self.options = json.loads(self.results.attrs["options"])
        self.policies = _texts(self.results["policy"])
        self.budgets = self.results["budget"][()].tolist()
        self.budget_kind = str(self.results.attrs["budget_kind"])
        self.layers = self.results["layer"][()].tolist()
        recorded = self.trace.attrs["layers"].tolist()
        if not set(self.layers) <= set(recorded) or self.trace.attrs["model_id"] != self.results.attrs["model_id"]:
            raise InputError(f"{self.results_path}: is not of the trace {self.trace_path}")
        self.unreplayed = int(self.trace.attrs["n_layers"]) - len(self.layers)
        samples = _texts(self.results["case_sample"])
        points = _texts(self.results["case_point"])
        n_queries = self.results["n_queries"][()]
        self.cases = [self._case(*each) for each in zip(samples, points, n_queries)]
        labels = dict(zip(_texts(self.results["case"]), self.cases))
        self._left_out = {
            (labels[each["case"]].name, each["policy"])
            for each in json.loads(self.results.attrs.get("left_out", "[]"))
            if "policy" in each and each.get("case") in labels
        }

    def _case(self, sample_name: str, point: str, n_queries: float) -> Case:
        where = f"{self.trace_path}: '{sample_name}@{point}'"
        numbers = {group.attrs["name"]: int(number) for number, group in self.trace["samples"].items()}
        if sample_name not in numbers:
            raise InputError(f"{where}: no such sample, but {self.results_path} has it")
        number = numbers[sample_name]
        sample = self.trace[f"samples/{number:04d}"]
        named = dict(zip(_texts(sample["compression_points/name"]), sample["compression_points/position"][()].tolist()))
        position = int(point) if point.isdecimal() else named.get(point)
        if position is None:
            raise InputError(f"{where}: no such compression point, but {self.results_path} has it")
        n_tokens, decode_start = int(sample.attrs["n_tokens"]), int(sample.attrs["decode_start"])
        recorded = sum(max(0, end - max(begin, position)) for begin, end in sample["query_ranges"][()].tolist())
        if recorded != int(n_queries):
            raise InputError(f"{where}: {recorded} evaluation queries, in {self.results_path} {int(n_queries)}")
        if not len(sample["query_ranges"]):
            raise InputError(f"{where}: no queries are recorded, and the live model is told to be the same by them")
        if (sample["token_ids"][()] == UNKNOWN_TOKEN).any():
            raise InputError(f"{where}: its token ids are not recorded, so that no model can run on them")
        sensitivity = sample.get(f"sensitivity/{point}")
        if sensitivity is not None:
            scored = sensitivity["target_mask"][()].astype(bool)
            if len(scored) != n_tokens - position:
                raise InputError(f"{where}: a target mask of {len(scored)} for {n_tokens - position} queries")
        else:
            scored = next_token_targets(position, n_tokens, decode_start)
        if not scored.any():
            raise InputError(f"{where}: nothing was decoded after it, so that no prediction can be scored")
        return Case(
            f"{sample_name}@{point}",
            number,
            point,
            position,
            sample["token_ids"][()].tolist(),
            scored,
            decode_start,
            str(sample.attrs["token_source"]) == "greedy" and "eos_masked_at" not in sample.attrs,
        )

    def is_left_out(self, case: Case, policy: str) -> bool:
        """Whether some layer of the case has no retained sets of the policy, as the results say."""
        return (case.name, policy) in self._left_out

    def retained_sets(self, case: Case, policy: str, budget: int) -> dict[int, np.ndarray]:
        """By layer, bool [n_kv_heads or n_q_heads, position]: which tokens before the compression point are kept."""
        sets = {}
        heads = {"kv": int(self.trace.attrs["n_kv_heads"]), "query": int(self.trace.attrs["n_q_heads"])}
        for layer in self.layers:
            path = f"samples/{case.sample:04d}/{case.point}/layers/{layer:02d}/retained/{policy}"
            if path not in self.retained:
                raise InputError(f"{self.retained_path}: {path} is missing")
            dataset = self.retained[path]
            first = int(dataset.attrs["first_position"])  # what lies before is out of every query's window
            expected = (len(self.budgets), heads.get(str(dataset.attrs["head_axis"])), case.position - first)
            if dataset.shape != expected:
                raise InputError(f"{self.retained_path}: {path} has the shape {dataset.shape}, expected {expected}")
            kept = np.ones((expected[1], case.position), dtype=bool)
            kept[:, first:] = dataset[budget] != 0
            sets[layer] = kept
        return sets

    def surrogates(self) -> dict[str, tuple[np.ndarray, bool]]:
        """Every metric of the results, [case, policy, budget], and whether lower is better.

        The mean over layers, heads and spans, as far as the metric has them.
        """
        found = {}
        for name, variable in self.results.items():
            better = variable.attrs.get("better")
            if better is None or not is_contest(name, variable.attrs):
                continue
            dimensions = [dimension[0].name.lstrip("/") for dimension in variable.dims]
            if not {"case", "policy", "budget"} <= set(dimensions):
                continue
            kept = [dimensions.index(each) for each in ("case", "policy", "budget")]
            values = np.moveaxis(variable[()], kept, (0, 1, 2))
            values = values.reshape(*values.shape[:3], -1)
            counts = np.isfinite(values).sum(axis=-1)
            with np.errstate(invalid="ignore"):
                found[name] = (np.where(counts > 0, np.nansum(values, axis=-1) / counts, np.nan), better == "lower")
        return found


def _open(path: Path, file_format: str) -> h5py.File:
    file = open_inspected(path)
    found = file.attrs.get("format")
    if found != file_format:
        raise InputError(f"{path}: expected a file of the format {file_format}, found {found}")
    return file


def _texts(dataset: h5py.Dataset) -> list[str]:
    return dataset.asstr()[()].tolist()
