"""A crafted file: a function that edits a copy of a valid one, or writes bytes of its own."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py

# What lies beside every crafted file, by a relative name: commands run in that folder.
FIFO = "fifo"  # nobody writes to it: who opens it waits for ever
SECRET = "secret"  # a file of the user that has nothing to do with the crafted one
OTHER = "other.h5"  # another trace

# In plain.h5.
SAMPLE = "samples/0000"
LAYER = f"{SAMPLE}/layers/00"
KEYS = f"{LAYER}/keys"
KEYS_SHAPE = (2, 56, 8)


@dataclass(frozen=True)
class Case:
    name: str
    seed: str | None  # None: `make` writes the whole file
    make: Callable


CASES: dict[str, Case] = {}


def _add(seed: str | None, make: Callable) -> Callable:
    name = make.__name__.replace("_", "-")
    assert name not in CASES, name
    CASES[name] = Case(name, seed, make)
    return make


def edits(seed: str) -> Callable[[Callable[[h5py.File], None]], Callable]:
    """Of a function that edits a copy of this seed."""
    return lambda make: _add(seed, make)


def writes(make: Callable[[Path], None]) -> Callable:
    """Of a function that writes the file."""
    return _add(None, make)


def replace(file: h5py.File, name: str, **storage) -> h5py.Dataset:
    """A dataset made anew, with its values and attributes where `storage`, arguments of create_dataset, says nothing
    else."""
    old = file[name]
    values, attributes = old[()], dict(old.attrs)
    del file[name]
    new = file.create_dataset(name, **({"data": values} | storage))
    new.attrs.update(attributes)
    return new


def replace_attribute(item: h5py.HLObject, name: str, value, dtype=None) -> None:
    """Another type too."""
    if name in item.attrs:
        del item.attrs[name]
    item.attrs.create(name, value, dtype=dtype)


def create(file: h5py.File, name: str, type_id, shape: tuple[int, ...], creation=None) -> h5py.h5d.DatasetID:
    """A dataset of a type that numpy does not know, or with properties that h5py does not set."""
    if name in file:
        del file[name]
    return h5py.h5d.create(file.id, name.encode(), type_id, h5py.h5s.create_simple(shape), creation)


def texts(*values: str | bytes) -> dict:
    """Arguments of create_dataset for an array of these strings."""
    return {"data": list(values), "dtype": h5py.string_dtype()}
