"""Counts, positions and values that no trace has."""

import numpy as np

from tests.hostile.crafted.case import KEYS, SAMPLE, edits, replace


@edits("plain")
def n_tokens_of_2_to_the_63(file):
    file[SAMPLE].attrs["n_tokens"] = (1 << 63) - 1


@edits("plain")
def negative_n_tokens(file):
    file[SAMPLE].attrs["n_tokens"] = -5


@edits("plain")
def head_dim_of_0(file):
    file.attrs["head_dim"] = 0


@edits("plain")
def a_million_heads(file):
    file.attrs["n_q_heads"] = 1 << 20
    file.attrs["n_kv_heads"] = 1 << 20


@edits("plain")
def a_million_layers(file):
    file.attrs["n_layers"] = 1 << 20
    file.attrs["layers"] = np.arange(8000)


@edits("plain")
def layers_in_two_dimensions(file):
    file.attrs["layers"] = np.zeros((90, 80), dtype=int)


@edits("plain")
def the_same_layer_8000_times(file):
    file.attrs["layers"] = np.zeros(8000, dtype=int)


@edits("plain")
def softmax_scale_that_is_no_number(file):
    file.attrs["softmax_scale"] = float("nan")


@edits("plain")
def softmax_scale_of_1e308(file):
    file.attrs["softmax_scale"] = 1e308


@edits("plain")
def rope_that_is_no_number(file):
    file["rope_inv_freq"][...] = np.nan


@edits("plain")
def query_range_up_to_2_to_the_62(file):
    file[f"{SAMPLE}/query_ranges"][...] = [[0, 1 << 62]]


@edits("plain")
def query_ranges_200000_of_them(file):
    replace(file, f"{SAMPLE}/query_ranges", data=np.array([[i, i + 1] for i in range(200_000)]))


@edits("plain")
def spans_up_to_2_to_the_62(file):
    file[f"{SAMPLE}/spans/end"][...] = 1 << 62


@edits("plain")
def token_ids_of_2_to_the_64(file):
    replace(file, f"{SAMPLE}/token_ids", data=np.full(56, (1 << 64) - 1, dtype="u8"))


@edits("plain")
def largest_keys(file):
    file[KEYS][...] = 65504


@edits("plain")
def smallest_keys(file):
    file[KEYS][...] = 6e-8


@edits("plain")
def key_that_is_no_number(file):
    file[KEYS][1, 5, 3] = np.nan
