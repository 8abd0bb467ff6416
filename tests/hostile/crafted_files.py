"""All crafted files: what somebody could send who wants a program that reads it to crash, wait, fill the memory, or
tell what stands in other files."""

import multiprocessing
import os
import shutil
from pathlib import Path

import h5py

from tests.hostile.crafted import bombs, element_types, links, many, numbers, raw_bytes, scales, shards, storage, text
from tests.hostile.crafted.case import CASES, FIFO, OTHER, SECRET, Case
from tests.hostile.seeds import KINDS, OLDEST

__all__ = ["CASES", "SECRET_TEXT", "kind", "make"]
THEMES = (links, text, many, numbers, element_types, storage, bombs, scales, shards, raw_bytes)  # which fill CASES
SECRET_TEXT = b"nobody's business"


def kind(case: Case) -> str:
    """Which commands read it, as commands() takes it."""
    if case.seed is None:
        return "any"
    return KINDS.get(case.seed, "trace")  # long.h5 is one


def make(case: Case, folder: Path, seeds: Path) -> Path:
    """Makes the file, and what it points at, in an empty folder."""
    os.mkfifo(folder / FIFO)
    (folder / SECRET).write_bytes(SECRET_TEXT * 200)
    shutil.copy(seeds / "plain.h5", folder / OTHER)
    path = folder / "crafted.h5"
    if case.seed is not None:
        shutil.copy(seeds / f"{case.seed}.h5", path)
    # Apart: the memory that this takes would count for the commands that are run later.
    process = multiprocessing.get_context("fork").Process(target=edit, args=(case, path))
    process.start()
    process.join()
    if process.exitcode != 0:
        raise RuntimeError(f"{case.name} could not be made")
    return path


def edit(case: Case, path: Path) -> None:
    if case.seed is None:
        case.make(path)
    else:
        with h5py.File(path, "r+", libver=OLDEST) as file:
            case.make(file)
