"""What is no HDF5 file, or one with something before or behind it."""

import os
from pathlib import Path

from tests.hostile.crafted.case import OTHER, writes

SIGNATURE = b"\x89HDF\r\n\x1a\n"


def other(path: Path) -> bytes:
    """A whole trace."""
    return (path.parent / OTHER).read_bytes()


@writes
def empty_file(path):
    path.write_bytes(b"")


@writes
def signature_alone(path):
    path.write_bytes(SIGNATURE)


@writes
def hole_of_64_gib(path):
    """The signature may stand at 512, 1024, 2048, ..."""
    path.touch()
    os.truncate(path, 64 << 30)


@writes
def hole_of_a_tib_behind_a_trace(path):
    path.write_bytes(other(path))
    os.truncate(path, 1 << 40)


@writes
def block_before_a_trace(path):
    path.write_bytes(bytes(512) + other(path))


@writes
def two_traces_in_a_row(path):
    path.write_bytes(2 * other(path))


@writes
def file_that_is_a_fifo(path):
    os.mkfifo(path)


@writes
def file_that_is_a_folder(path):
    path.mkdir()


@writes
def file_that_is_a_device(path):
    path.symlink_to("/dev/zero")


@writes
def file_that_is_memory(path):
    path.symlink_to("/proc/self/mem")
