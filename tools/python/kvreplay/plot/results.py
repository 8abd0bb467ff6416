"""Results as xarray has them, and what a metric of theirs is (docs/formats/results.md)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.errors import InputError, UsageError
from ..common.inspected_file import open_inspected
from ..common.nearest_name import unknown_name
from .libraries import load

if TYPE_CHECKING:
    import xarray

FORMAT, MAJOR_VERSION = "kvreplay-results", "1"
FORMULAS = ("ratio", "sqrt_ratio", "sum", "sqrt_over")
KEPT_FRACTION = "kept_fraction"


@dataclass(frozen=True)
class Metric:
    """What the attributes of a metric say, and the dimensions of its numerator."""

    name: str
    numerator: str
    denominator: str
    formula: str
    higher_is_better: bool
    monotone: bool
    contest: bool
    units: str
    sum_units: str
    of_layers: str
    dims: tuple[str, ...]

    @property
    def head(self) -> str | None:
        """ "q_head", "kv_head" or None."""
        return next((each for each in ("q_head", "kv_head") if each in self.dims), None)

    @property
    def part(self) -> str | None:
        """ "span", "other_policy" or None: the metric has a value for each."""
        return next((each for each in ("span", "other_policy") if each in self.dims), None)

    @property
    def of_model(self) -> bool:
        """All layers of a case stand together in it."""
        return "layer" not in self.dims

    @property
    def is_contest(self) -> bool:
        """Whether policies compete in it, as `kvreplay compare` has it."""
        return self.contest and self.name != KEPT_FRACTION and self.formula != "sum" and self.part != "other_policy"


@contextmanager
def opened(ds: xarray.Dataset | str | os.PathLike) -> Iterator[xarray.Dataset]:
    """The results: a dataset as it is, a file inspected and open while the context lasts. Throws InputError."""
    if not isinstance(ds, (str, os.PathLike)):
        yield checked(ds, "the dataset")
        return
    xarray, h5netcdf = load("xarray"), load("h5netcdf")
    with open_inspected(Path(ds)) as file:
        _check_format(file.attrs, str(ds))  # before xarray, which would explain itself at length
        netcdf = h5netcdf.File(file, "r", decode_vlen_strings=True)  # else xarray takes them for ASCII
        with xarray.open_dataset(xarray.backends.H5NetCDFStore(netcdf)) as dataset:
            yield checked(dataset, str(ds))


def checked(ds: xarray.Dataset, where: str) -> xarray.Dataset:
    """The dataset. Throws InputError where it is none of results, or lacks a dimension."""
    if not hasattr(ds, "data_vars"):
        raise InputError(f"expected an xarray.Dataset or the path of results, found {type(ds).__name__}")
    _check_format(ds.attrs, where)
    for dimension in ("case", "layer", "policy", "budget"):
        if not ds.sizes.get(dimension):
            raise InputError(
                f"{where}: results without the dimension '{dimension}': select some of it by a list, or by the "
                "keywords of these functions"
            )
    for name in ("case_point", "case_sample", "policy_is_oracle", "n_queries"):
        if name not in ds.variables:
            raise InputError(f"{where}: results without '{name}'")
    return ds


def _check_format(attributes, where: str) -> None:
    found, version = str(attributes.get("format")), str(attributes.get("format_version", ""))
    if found != FORMAT:
        raise InputError(f"{where}: expected a file of the format {FORMAT}, found {found}")
    if version.split(".")[0] != MAJOR_VERSION:
        raise InputError(f"{where}: format_version is '{version}'; this package reads '{MAJOR_VERSION}.x'")


def metric_names(ds: xarray.Dataset) -> list[str]:
    return [str(name) for name, variable in ds.data_vars.items() if "formula" in variable.attrs]


def find_metric(ds: xarray.Dataset, name: str) -> Metric:
    """Throws UsageError where the results lack it, InputError where it breaks the format."""
    names = metric_names(ds)
    if name not in names:
        why = next((f"; it was left out: {each['why']}" for each in left_out(ds) if each.get("metric") == name), "")
        raise UsageError(unknown_name("metric", name, names) + why)
    attributes = ds[name].attrs
    sums = [str(attributes.get(role)) for role in ("numerator", "denominator")]
    for role, each in zip(("numerator", "denominator"), sums):
        if each not in ds.variables:
            raise InputError(f"the {role} '{each}' of '{name}' is missing")
    if attributes["formula"] not in FORMULAS:
        raise InputError(f"'{name}': unknown formula '{attributes['formula']}'")
    return Metric(
        name=name,
        numerator=sums[0],
        denominator=sums[1],
        formula=str(attributes["formula"]),
        higher_is_better=attributes.get("better") == "higher",
        monotone=bool(attributes.get("monotone", 1)),
        contest=bool(attributes.get("contest", 1)),
        units=str(attributes.get("units", "")),
        sum_units=str(attributes.get("sum_units", "")),
        of_layers=str(attributes.get("of_layers", "")),
        dims=tuple(str(each) for each in ds[sums[0]].dims),
    )


def left_out(ds: xarray.Dataset) -> list[dict]:
    """What the attribute `left_out` says. Throws InputError where it is no list of objects."""
    text = str(ds.attrs.get("left_out") or "[]")
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(each, dict) and "why" in each for each in found):
        raise InputError(f"attribute left_out: expected a JSON list of objects with a 'why', found {text[:200]!r}")
    return found


def labels(ds: xarray.Dataset, name: str) -> list:
    """Of a dimension, or of a variable that describes one."""
    return ds[name].values.tolist()


def points_of(ds: xarray.Dataset) -> list[str]:
    """The compression points, in order of first appearance."""
    return list(dict.fromkeys(labels(ds, "case_point")))
