"""Dimension scales of results: attributes that the HDF5 library reads without a look at their types."""

import h5py
import numpy as np

from tests.hostile.crafted.case import edits, replace_attribute

ARRAY = "bytes"  # of four dimensions: case, layer, policy, budget
SCALE = "budget"


def set_scales(file: h5py.File, lists: list[list], dtype=h5py.ref_dtype) -> None:
    """DIMENSION_LIST: for each dimension the references to its scales."""
    value = np.empty(len(lists), object)
    for i, references in enumerate(lists):
        value[i] = np.array(references, dtype=dtype)
    replace_attribute(file[ARRAY], "DIMENSION_LIST", value, dtype=h5py.vlen_dtype(dtype))


@edits("results")
def array_that_is_its_own_scale(file):
    set_scales(file, [[file[ARRAY].ref]] * 4)


@edits("results")
def scale_that_is_a_group(file):
    set_scales(file, [[file["/"].ref]] * 4)


@edits("results")
def scale_that_is_no_scale(file):
    set_scales(file, [[file["n_queries"].ref]] * 4)


@edits("results")
def scale_that_is_the_null_reference(file):
    set_scales(file, [[h5py.Reference()]] * 4)


@edits("results")
def scale_that_was_deleted(file):
    file["zz"] = np.zeros(2)
    reference = file["zz"].ref
    del file["zz"]
    set_scales(file, [[reference]] * 4)


@edits("results")
def scales_of_other_dimensions(file):
    set_scales(file, [[file[name].ref] for name in ("budget", "policy", "layer", "case")])


@edits("results")
def scales_1000_for_a_dimension(file):
    set_scales(file, [[file[SCALE].ref] * 1000] * 4)


@edits("results")
def scales_for_one_dimension_of_four(file):
    set_scales(file, [[file[SCALE].ref]])


@edits("results")
def scales_for_no_dimension(file):
    set_scales(file, [[], [], [], []])


@edits("results")
def dimension_list_of_region_references(file):
    set_scales(file, [[file[SCALE].regionref[:]]] * 4, dtype=h5py.regionref_dtype)


@edits("results")
def dimension_list_of_integers(file):
    replace_attribute(file[ARRAY], "DIMENSION_LIST", np.arange(4))


@edits("results")
def dimension_list_that_is_text(file):
    replace_attribute(file[ARRAY], "DIMENSION_LIST", np.bytes_(b"x" * 64))


@edits("results")
def dimension_list_of_texts_of_variable_length(file):
    replace_attribute(file[ARRAY], "DIMENSION_LIST", ["x", "y", "z", "w"], dtype=h5py.string_dtype())


@edits("results")
def reference_list_of_integers(file):
    replace_attribute(file[SCALE], "REFERENCE_LIST", np.arange(4))


@edits("results")
def reference_list_that_is_text(file):
    replace_attribute(file[SCALE], "REFERENCE_LIST", "x" * 64)


@edits("results")
def class_of_60000_bytes(file):
    replace_attribute(file[SCALE], "CLASS", np.bytes_(b"DIMENSION_SCALE" * 4000))


@edits("results")
def class_that_is_a_number(file):
    replace_attribute(file[SCALE], "CLASS", 7)


@edits("results")
def class_of_variable_length(file):
    replace_attribute(file[SCALE], "CLASS", "DIMENSION_SCALE")


@edits("results")
def name_of_60000_bytes(file):
    replace_attribute(file[SCALE], "NAME", np.bytes_(b"n" * 60_000))


@edits("results")
def name_that_is_numbers(file):
    replace_attribute(file[SCALE], "NAME", np.arange(100))


@edits("results")
def name_of_variable_length(file):
    replace_attribute(file[SCALE], "NAME", "variable-length")


@edits("results")
def name_that_is_a_reference(file):
    replace_attribute(file[SCALE], "NAME", file[SCALE].ref, dtype=h5py.ref_dtype)


@edits("results")
def scale_without_values(file):
    file.create_dataset("zz", (0,), "f8").make_scale("zz")


@edits("results")
def attributes_2000_of_them(file):
    for i in range(2000):
        file[ARRAY].attrs.create(f"a{i}", i % 100, dtype="i1")
