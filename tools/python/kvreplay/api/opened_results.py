"""Results in memory, with the parts of a case to select by; and the files behind such datasets."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..common.errors import UsageError
from ..plot.results import opened
from .words import PathLike, listed, path_word

if TYPE_CHECKING:
    import xarray

CASE_PARTS = ("trace", "sample", "point")


def open_results(path: PathLike) -> xarray.Dataset:
    """Results of `kvreplay replay` or `merge`, inspected, then loaded into memory; docs/formats/results.md has the
    layout.

    Metrics are [case, layer, q_head or kv_head, policy, budget], as each has them, float64; NaN: nothing was replayed
    there. The coordinates `trace`, `sample` and `point` along `case` say what a case is of:

        ds.isel(case=ds.point == "prompt")
        ds.set_xindex("point").sel(point="prompt")

    They are no index from the start, because xarray cannot align datasets by an index whose labels occur twice.

    Throws InputError for a file that is broken or of another format."""
    with opened(path_word(path)) as ds:
        loaded = with_case_parts(ds.load())
    loaded.encoding["source"] = os.path.abspath(path_word(path))
    return loaded


def with_case_parts(ds: xarray.Dataset) -> xarray.Dataset:
    """With the coordinates of CASE_PARTS, short for `case_trace` and its kin."""
    return ds.assign_coords({part: ds[f"case_{part}"].variable for part in CASE_PARTS if f"case_{part}" in ds.coords})


def result_paths(results: PathLike | xarray.Dataset | Iterable[PathLike | xarray.Dataset]) -> list[str]:
    """The files of results: paths as they are, and of datasets the file that holds the same. Throws UsageError for a
    dataset without one."""
    is_one = hasattr(results, "data_vars")  # a dataset is iterable, over the names of its variables
    return [_path_of(each) for each in ([results] if is_one else listed(results, "results"))]


def _path_of(results: PathLike | xarray.Dataset) -> str:
    if not hasattr(results, "data_vars"):
        return path_word(results)
    source = results.encoding.get("source")
    if source is None or not os.path.isfile(source):
        raise UsageError("the dataset is in no file: give the path of results, or replay with output=")
    # xarray names the source of what was selected or computed, too.
    if not with_case_parts(results).identical(open_results(source)):
        raise UsageError(
            f"the dataset is not, or no longer, what {source} holds: give the path, and select by arguments"
        )
    return source
