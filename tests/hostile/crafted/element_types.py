"""Values of types, ranks and shapes that nobody expects."""

import h5py
import numpy as np
from h5py import h5s, h5t

from tests.hostile.crafted.case import KEYS, KEYS_SHAPE, LAYER, SAMPLE, create, edits, replace, replace_attribute


def text_type(size: int) -> h5t.TypeID:
    """Strings of this many bytes."""
    text = h5t.C_S1.copy()
    text.set_size(size)
    return text


@edits("plain")
def attribute_of_a_compound_type(file):
    replace_attribute(file, "n_layers", np.zeros((), dtype=[("a", "i4"), ("b", "f8")]))


@edits("plain")
def attribute_that_is_a_reference(file):
    replace_attribute(file, "n_layers", file["model"].ref, dtype=h5py.ref_dtype)


@edits("plain")
def attribute_of_an_array_type(file):
    replace_attribute(file, "n_layers", np.zeros(1000, "i8"), dtype=np.dtype(("i8", (1000,))))


@edits("plain")
def attribute_without_a_value(file):
    replace_attribute(file, "n_layers", h5py.Empty("i8"))


@edits("plain")
def text_attribute_without_a_value(file):
    replace_attribute(file, "model_id", h5py.Empty(h5py.string_dtype()))


@edits("plain")
def attribute_of_60000_bytes_of_text(file):
    del file.attrs["creator"]
    h5py.h5a.create(file.id, b"creator", text_type(60_000), h5s.create(h5s.SCALAR))


@edits("plain")
def keys_as_float64(file):
    replace(file, KEYS, dtype="f8")


@edits("plain")
def keys_in_the_other_byte_order(file):
    replace(file, KEYS, dtype=">f2")


@edits("plain")
def keys_of_a_compound_type(file):
    replace(file, KEYS, data=np.zeros(KEYS_SHAPE, dtype=[("a", "f2")]))


@edits("plain")
def keys_of_variable_length(file):
    replace(file, KEYS, data=None, shape=KEYS_SHAPE, dtype=h5py.vlen_dtype("f2"))


@edits("plain")
def keys_without_a_meaning(file):
    replace(file, KEYS, data=np.zeros(KEYS_SHAPE, dtype="V2"))


@edits("plain")
def keys_that_are_text(file):
    replace(file, KEYS, data=np.full(KEYS_SHAPE, b"x", dtype="S2"))


@edits("plain")
def token_ids_of_4096_bytes(file):
    wide = h5t.STD_I64LE.copy()
    wide.set_size(4096)
    wide.set_precision(32768)
    create(file, f"{SAMPLE}/token_ids", wide, (56,))


@edits("plain")
def token_texts_of_2_gib(file):
    create(file, f"{SAMPLE}/token_texts", text_type((1 << 31) - 1), (56,))


@edits("plain")
def keys_of_rank_32(file):
    replace(file, KEYS, data=np.zeros((1,) * 32, "f2"))


@edits("plain")
def keys_of_rank_0(file):
    replace(file, KEYS, data=np.float16(1))


@edits("plain")
def keys_without_values(file):
    del file[KEYS]
    file[KEYS] = h5py.Empty("f2")


@edits("plain")
def keys_of_no_token(file):
    replace(file, KEYS, data=np.zeros((2, 0, 8), "f2"))


@edits("plain")
def keys_that_are_a_group(file):
    del file[KEYS]
    file.create_group(KEYS)


@edits("plain")
def keys_that_are_a_type(file):
    del file[KEYS]
    file[KEYS] = np.dtype("f2")


@edits("scores")
def scores_of_rank_3(file):
    replace(file, f"{LAYER}/scores", data=np.zeros(KEYS_SHAPE, "f4"))


@edits("scores")
def scores_of_too_few_tokens(file):
    replace(file, f"{LAYER}/scores", data=np.zeros((2, 10), "f4"))


@edits("results")
def array_of_rank_7_in_results(file):
    file["zz"] = np.zeros((1,) * 7)


@edits("table")
def trained_on_that_are_numbers(file):
    replace(file, "budget/trained_on", data=np.arange(4))


@edits("table")
def trained_on_of_a_gib_each(file):
    """Never written: four strings of which the file holds nothing."""
    create(file, "budget/trained_on", text_type(1 << 30), (4,), unwritten())


@edits("table")
def trained_on_8192_of_a_gib_each(file):
    create(file, "budget/trained_on", text_type(1 << 30), (8192,), unwritten())


def unwritten() -> h5py.h5p.PropDCID:
    """Space is taken when values are written."""
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_alloc_time(h5py.h5d.ALLOC_TIME_LATE)
    return creation
