"""Much of what is little: groups in groups, names for one thing, attributes, empty space."""

import os

import h5py
import numpy as np

from tests.hostile.crafted.case import KEYS, KEYS_SHAPE, LAYER, SAMPLE, edits


def nest(group: h5py.Group, n: int) -> None:
    for _ in range(n):
        group = group.create_group("g")


@edits("retained")
def a_thousand_groups_in_each_other(file):
    nest(file, 1000)


@edits("scores")
def a_thousand_groups_of_scores(file):
    nest(file[LAYER], 1000)


@edits("scores")
def scores_in_a_circle(file):
    file[f"{LAYER}/layers"] = file["samples"]
    file["samples/0001"] = file[SAMPLE]


@edits("scorer")
def a_scorer_in_itself(file):
    file["scorer/fold1"] = file["scorer"]


@edits("scorer")
def a_scorer_in_a_circle_of_soft_links(file):
    file["scorer/fold1"] = h5py.SoftLink("/scorer/fold2")
    file["scorer/fold2"] = h5py.SoftLink("/scorer/fold1")


@edits("scorer")
def a_thousand_folds(file):
    for fold in range(1, 1000):
        file[f"scorer/fold{fold}"] = file["scorer/fold0"]


@edits("plain")
def ten_thousand_names_of_the_keys(file):
    for i in range(10_000):
        file[f"{LAYER}/name{i}"] = file[KEYS]


@edits("results")
def three_thousand_names_of_a_variable(file):
    for i in range(3000):
        file[f"output_error_{i}"] = file["output_error"]


@edits("plain")
def ten_thousand_attributes(file):
    for i in range(10_000):
        file[SAMPLE].attrs[f"a{i}"] = i


@edits("plain")
def attributes_of_40_mb(file):
    for i in range(700):
        file.attrs[f"a{i}"] = np.zeros(7500)


def lengthen(file: h5py.File, size: int) -> None:
    """With bytes that take no space on the disk."""
    name = file.filename
    file.close()
    os.truncate(name, size)


@edits("plain")
def a_file_of_1_tib_that_is_empty(file):
    lengthen(file, 1 << 40)


@edits("plain")
def keys_of_64_mib_and_a_file_of_1_tib(file):
    """Never written, but there: the file goes on behind its structure."""
    n = (64 << 20) // (2 * KEYS_SHAPE[2])
    del file[KEYS]
    file.create_dataset(KEYS, (2, n, 8), "f2")[0, 0, 0] = 1
    lengthen(file, 1 << 40)


@edits("plain")
def token_ids_of_512_gib_in_a_file_of_1_tib(file):
    n = 1 << 37
    file[SAMPLE].attrs["n_tokens"] = n
    del file[f"{SAMPLE}/token_ids"]
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    space = h5py.h5s.create_simple((n,))
    h5py.h5d.create(file.id, f"{SAMPLE}/token_ids".encode(), h5py.h5t.STD_I32LE, space, creation)
    lengthen(file, 1 << 40)
