"""Shards whose frame and units, retained sets and outputs do not fit each other."""

import h5py
import numpy as np

from tests.hostile.crafted.case import edits, replace

SHARD = "replay.shard-1-of-2"


def first_unit(file: h5py.File) -> h5py.Group:
    return next(iter(file["members"].values()))


def replace_in_unit(file: h5py.File, name: str, values: np.ndarray) -> None:
    """Values of another shape too, along other dimensions of the unit."""
    unit = first_unit(file)
    scales = [scale[0] for scale in unit[name].dims]
    replace(unit, name, data=values)
    for axis, scale in enumerate(scales[: values.ndim]):
        if values.shape[axis] == scale.shape[0]:
            unit[name].dims[axis].attach_scale(scale)


@edits(SHARD)
def cells_without_dimensions(file):
    replace_in_unit(file, "cells_0", np.array(1.0))


@edits(SHARD)
def cells_that_are_not_there(file):
    first_unit(file)["cells_0"][...] = 1e9


@edits(SHARD)
def negative_cells(file):
    first_unit(file)["cells_0"][...] = -1


@edits(SHARD)
def cells_that_are_no_numbers(file):
    first_unit(file)["cells_0"][...] = np.nan


@edits(SHARD)
def fewer_cells_are_held_than_there_are(file):
    unit = first_unit(file)
    del unit["holders_0"]
    unit["holders_0"] = unit["full_outputs"]


@edits(SHARD)
def cells_without_holders(file):
    del first_unit(file)["holders_0"]


@edits(SHARD)
def outputs_without_positions(file):
    del first_unit(file)["full_outputs_positions"]


@edits(SHARD)
def positions_that_are_no_numbers(file):
    first_unit(file)["full_outputs_positions"][...] = np.nan


@edits(SHARD)
def a_unit_of_no_sample(file):
    del first_unit(file).attrs["sample"]


@edits(SHARD)
def a_unit_of_a_sample_with_a_name(file):
    first_unit(file).attrs["sample"] = "../../secret"


@edits(SHARD)
def a_million_candidates(file):
    first_unit(file).attrs["n_candidates"] = 1 << 20


@edits(SHARD)
def policies_that_are_numbers(file):
    replace(file, "policy", data=np.arange(2.0))


@edits(SHARD)
def a_policy_without_a_name(file):
    file["policy"][0] = ""


@edits(SHARD)
def a_policy_that_is_a_path(file):
    file["policy"][0] = "../../../secret"


@edits(SHARD)
def the_same_policy_twice(file):
    file["policy"][0] = file["policy"][1]


@edits(SHARD)
def layers_that_are_texts(file):
    replace(file, "layer", data=["zero", "one"], dtype=h5py.string_dtype())


@edits(SHARD)
def a_unit_that_is_all_of_them(file):
    members = file["members"]
    for name in members:
        if name != first_unit(file).name.rsplit("/", 1)[1]:
            del members[name]
            members[name] = first_unit(file)
