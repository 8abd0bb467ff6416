"""Small files that are large once read."""

import zlib

import h5py
import numpy as np

from tests.hostile.crafted.case import KEYS, KEYS_SHAPE, LAYER, SAMPLE, edits, replace_attribute

GIB = 1 << 30
BLOCK = 64 << 20


def zeros_in_gzip(n_bytes: int) -> bytes:
    """What zlib.compress(bytes(n_bytes)) says, made without that memory. `n_bytes`: a multiple of BLOCK"""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = compressor.compress(bytes(BLOCK)) + compressor.flush(zlib.Z_FULL_FLUSH)
    end = b"\x03\x00"  # an empty last block
    checksum = (n_bytes % 65521) << 16 | 1  # Adler-32 of zeros
    return b"\x78\x01" + block * (n_bytes // BLOCK) + end + checksum.to_bytes(4, "big")


def fill_with_zeros(file: h5py.File, name: str, n: int, dtype: str) -> h5py.Dataset:
    """An array of n zeros, of which every chunk is the same bytes in gzip."""
    if name in file:
        del file[name]
    chunk = BLOCK // np.dtype(dtype).itemsize
    array = file.create_dataset(name, (n,), dtype, chunks=(chunk,), compression="gzip")
    stored = zeros_in_gzip(BLOCK)
    for begin in range(0, n, chunk):
        array.id.write_direct_chunk((begin,), stored)
    return array


@edits("plain")
def token_ids_of_a_gib_of_zeros(file):
    fill_with_zeros(file, f"{SAMPLE}/token_ids", GIB // 4, "i4")
    file[SAMPLE].attrs["n_tokens"] = GIB // 4


@edits("table")
def grid_of_4_gib_of_zeros(file):
    fill_with_zeros(file, "budget/grid", 4 * GIB // 8, "f8")


@edits("results")
def array_of_4_gib_of_zeros_in_results(file):
    fill_with_zeros(file, "zz", 4 * GIB // 8, "f8").make_scale("zz")


@edits("replay.shard-1-of-2")
def array_of_4_gib_of_zeros_in_a_shard(file):
    unit = sorted(file["members"])[0]
    fill_with_zeros(file, f"members/{unit}/zz", 4 * GIB // 8, "f8")


@edits("scores")
def scores_of_2_gib_of_zeros(file):
    n_tokens, chunk = GIB // 4, BLOCK // 4
    del file[f"{LAYER}/scores"]
    scores = file.create_dataset(f"{LAYER}/scores", (2, n_tokens), "f4", chunks=(1, chunk), compression="gzip")
    stored = zeros_in_gzip(BLOCK)
    for head in (0, 1):
        for begin in range(0, n_tokens, chunk):
            scores.id.write_direct_chunk((head, begin), stored)


@edits("retained")
def retained_set_of_2_gib_of_zeros(file):
    name = "samples/0000/context/layers/00/retained/h2o"
    attributes = dict(file[name].attrs)
    del file[name]
    kept = file.create_dataset(name, (1, 2, GIB), "u1", chunks=(1, 1, BLOCK), compression="gzip")
    kept.attrs.update(attributes)
    stored = zeros_in_gzip(BLOCK)
    for head in (0, 1):
        for begin in range(0, GIB, BLOCK):
            kept.id.write_direct_chunk((0, head, begin), stored)


@edits("plain")
def chunks_of_keys_that_hold_more_than_they_may(file):
    del file[KEYS]
    keys = file.create_dataset(KEYS, KEYS_SHAPE, "f2", chunks=(1, *KEYS_SHAPE[1:]), compression="gzip")
    for head in (0, 1):
        keys.id.write_direct_chunk((head, 0, 0), zeros_in_gzip(2 * BLOCK))


@edits("plain")
def chunk_of_token_ids_that_holds_3_gib(file):
    del file[f"{SAMPLE}/token_ids"]
    ids = file.create_dataset(f"{SAMPLE}/token_ids", (56,), "i4", chunks=(56,), compression="gzip")
    ids.id.write_direct_chunk((0,), zeros_in_gzip(3 * GIB))


@edits("plain")
def keys_in_chunks_of_32_mib(file):
    """Of which a few values are used."""
    values = file[KEYS][()]
    del file[KEYS]
    chunks = (1, 1 << 20, 16)
    file.create_dataset(KEYS, data=values, chunks=chunks, maxshape=(None,) * 3, compression="gzip")


def share_one_text(file: h5py.File, name: str, n: int, n_bytes: int) -> None:
    """n strings that are all the same object of the file: n * n_bytes of text."""
    if name in file:
        del file[name]
    array = file.create_dataset(name, (n,), dtype=h5py.string_dtype())
    array[0] = "x" * n_bytes
    file.flush()
    with open(file.filename, "r+b") as content:
        content.seek(array.id.get_offset())
        reference = content.read(16)
        content.seek(array.id.get_offset())
        content.write(reference * n)


@edits("plain")
def token_texts_that_share_4_mib(file):
    n = 4096
    file[SAMPLE].attrs["n_tokens"] = n
    del file[f"{SAMPLE}/token_ids"]
    file[f"{SAMPLE}/token_ids"] = np.zeros(n, "i4")
    share_one_text(file, f"{SAMPLE}/token_texts", n, 4 << 20)


@edits("table")
def trained_on_that_share_4_mib(file):
    share_one_text(file, "budget/trained_on", 4096, 4 << 20)


@edits("results")
def texts_in_results_that_share_4_mib(file):
    share_one_text(file, "zz", 4096, 4 << 20)


@edits("plain")
def model_config_of_200_mib(file):
    replace_attribute(file, "model_config", "x" * (200 << 20), dtype=h5py.string_dtype())
