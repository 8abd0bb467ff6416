"""Where values lie, in which chunks, behind which filters."""

import struct
import zlib

import h5py
import numpy as np
from h5py import h5d, h5p, h5s, h5t, h5z

from tests.hostile.crafted.case import FIFO, KEYS, KEYS_SHAPE, LAYER, OTHER, SAMPLE, SECRET, create, edits, replace

HALF = h5t.IEEE_F16LE
KEYS_CHUNK = (1, *KEYS_SHAPE[1:])
CHUNK_BYTES = 56 * 8 * 2
FILTER_ZSTD = 32015
FILTER_LZ4F = 32008  # one that the program does not have


def chunked(*chunk: int) -> h5p.PropDCID:
    creation = h5p.create(h5p.DATASET_CREATE)
    creation.set_chunk(chunk)
    return creation


def write_chunks_of_keys(keys: h5d.DatasetID, stored: bytes) -> None:
    for head in (0, 1):
        keys.write_direct_chunk((head, 0, 0), stored)


# Outside of the file.


@edits("plain")
def keys_in_another_file(file):
    del file[KEYS]
    file.create_dataset(KEYS, KEYS_SHAPE, "f2", external=[(SECRET, 0, 2 * CHUNK_BYTES)])


@edits("plain")
def keys_in_a_fifo(file):
    del file[KEYS]
    file.create_dataset(KEYS, KEYS_SHAPE, "f2", external=[(FIFO, 0, 2 * CHUNK_BYTES)])


@edits("plain")
def token_ids_in_a_fifo(file):
    del file[f"{SAMPLE}/token_ids"]
    file.create_dataset(f"{SAMPLE}/token_ids", (56,), "i4", external=[(FIFO, 0, 4 * 56)])


def store_texts_outside(file: h5py.File, name: str, where: str) -> None:
    shape = file[name].shape
    del file[name]
    file.create_dataset(name, shape, "S32", external=[(where, 0, 32 * shape[0])])


@edits("plain")
def compression_points_in_another_file(file):
    store_texts_outside(file, f"{SAMPLE}/compression_points/name", SECRET)


@edits("plain")
def spans_in_another_file(file):
    store_texts_outside(file, f"{SAMPLE}/spans/name", SECRET)


@edits("results")
def policies_in_another_file(file):
    store_texts_outside(file, "policy_parameters", SECRET)


@edits("results")
def case_names_in_a_fifo(file):
    store_texts_outside(file, "case_sample", FIFO)


@edits("table")
def trained_on_in_another_file(file):
    store_texts_outside(file, "budget/trained_on", SECRET)


@edits("table")
def trained_on_in_a_fifo(file):
    store_texts_outside(file, "budget/trained_on", FIFO)


@edits("scores")
def scores_in_a_fifo(file):
    del file[f"{LAYER}/scores"]
    file.create_dataset(f"{LAYER}/scores", (2, 56), "f4", external=[(FIFO, 0, 2 * 56 * 4)])


def virtual_keys(file: h5py.File, source: str) -> None:
    layout = h5py.VirtualLayout(KEYS_SHAPE, "f2")
    layout[...] = h5py.VirtualSource(source, KEYS, KEYS_SHAPE)
    del file[KEYS]
    file.create_virtual_dataset(KEYS, layout)


@edits("plain")
def virtual_keys_of_another_trace(file):
    virtual_keys(file, OTHER)


@edits("plain")
def virtual_keys_of_text(file):
    virtual_keys(file, SECRET)


@edits("plain")
def virtual_keys_of_a_fifo(file):
    virtual_keys(file, FIFO)


@edits("plain")
def growing_virtual_keys_of_a_fifo(file):
    """Asked for its shape alone, the library opens the source."""
    grows = (2, None, 8)
    layout = h5py.VirtualLayout(KEYS_SHAPE, "f2", maxshape=grows)
    source = h5py.VirtualSource(FIFO, "x", KEYS_SHAPE, maxshape=grows)
    layout[:, 0 : h5s.UNLIMITED, :] = source[:, 0 : h5s.UNLIMITED, :]
    del file[KEYS]
    file.create_virtual_dataset(KEYS, layout)


@edits("plain")
def virtual_keys_of_numbered_fifos(file):
    del file[KEYS]
    space = h5s.create_simple(KEYS_SHAPE, (2, h5s.UNLIMITED, 8))
    space.select_hyperslab((0, 0, 0), (1, h5s.UNLIMITED, 1), (1, 1, 1), (2, 1, 8))
    creation = h5p.create(h5p.DATASET_CREATE)
    creation.set_virtual(space, (FIFO + "%b").encode(), b"x", h5s.create_simple((2, 1, 8)))
    h5d.create(file.id, KEYS.encode(), HALF, space, creation)


# Chunks.


@edits("plain")
def chunks_of_one_value(file):
    replace(file, KEYS, chunks=(1, 1, 1))


@edits("long")
def chunks_of_four_values_96000_of_them(file):
    replace(file, KEYS, chunks=(1, 4, 1))


@edits("plain")
def chunk_of_4_gib(file):
    del file[KEYS]
    file.create_dataset(KEYS, KEYS_SHAPE, "f2", maxshape=(None,) * 3, chunks=(2, 1 << 27, 7), fillvalue=0)


@edits("plain")
def keys_of_2_to_the_64_bytes_never_written(file):
    del file[KEYS]
    file.create_dataset(KEYS, (2, 1 << 60, 8), "f2", chunks=(1, 1024, 8))
    file[SAMPLE].attrs["n_tokens"] = 1 << 60


@edits("plain")
def token_ids_of_4_tib_never_written(file):
    n = 1 << 40
    file[SAMPLE].attrs["n_tokens"] = n
    del file[f"{SAMPLE}/token_ids"]
    ids = file.create_dataset(f"{SAMPLE}/token_ids", (n,), "i4", chunks=(1 << 20,), compression="gzip")
    ids[0] = 1


# Filters.


@edits("plain")
def scaled_and_offset_keys(file):
    replace(file, KEYS, data=np.zeros(KEYS_SHAPE, "i2"), chunks=KEYS_CHUNK, scaleoffset=0)


@edits("plain")
def keys_behind_szip(file):
    """As a filter that is named: h5py may not have it to write."""
    creation = chunked(*KEYS_CHUNK)
    creation.set_filter(h5z.FILTER_SZIP, h5z.FLAG_OPTIONAL, (141, 8, 16, 8))
    write_chunks_of_keys(create(file, KEYS, HALF, KEYS_SHAPE, creation), b"x" * CHUNK_BYTES)


@edits("plain")
def keys_behind_an_unknown_filter(file):
    creation = chunked(*KEYS_CHUNK)
    creation.set_filter(FILTER_LZ4F, h5z.FLAG_OPTIONAL, (1, 2, 3))
    write_chunks_of_keys(create(file, KEYS, HALF, KEYS_SHAPE, creation), b"x" * CHUNK_BYTES)


@edits("plain")
def keys_behind_30_filters(file):
    creation = chunked(*KEYS_CHUNK)
    for _ in range(30):
        creation.set_deflate(9)
    write_chunks_of_keys(create(file, KEYS, HALF, KEYS_SHAPE, creation), b"x" * CHUNK_BYTES)


@edits("plain")
def shuffled_values_of_4_gib(file):
    creation = chunked(*KEYS_CHUNK)
    creation.set_filter(h5z.FILTER_SHUFFLE, 0, (0xFFFFFFFF,))
    creation.set_deflate(1)
    write_chunks_of_keys(create(file, KEYS, HALF, KEYS_SHAPE, creation), zlib.compress(bytes(CHUNK_BYTES)))


@edits("plain")
def zstd_that_claims_a_tib(file):
    creation = chunked(56)
    creation.set_filter(FILTER_ZSTD, h5z.FLAG_OPTIONAL, (3,))
    ids = create(file, f"{SAMPLE}/token_ids", h5t.STD_I32LE, (56,), creation)
    ids.write_direct_chunk((0,), struct.pack("<IBQ", 0xFD2FB528, 0xE0, 1 << 40) + b"\x01\0\0")
