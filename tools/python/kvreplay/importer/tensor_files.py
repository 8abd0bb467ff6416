"""Files that hold named tensors: their names and shapes first, then one tensor at a time."""

from __future__ import annotations

import math
import zipfile
import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..common.errors import InputError, first_line
from ..common.file_roles import check_input
from .float_arrays import ITEM_BYTES, FloatArray

MAX_RANK = 8
# What zipfile raises over an archive that is broken, or made to be.
BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError)
LONGEST_REASON = 200


@dataclass(frozen=True)
class TensorEntry:
    """A tensor that a file says it has."""

    shape: tuple[int, ...]
    dtype: str  # "float16", ..., or the file's own word for what is no float that is known here


class TensorFile(ABC):
    """`entries`: by name, in the file's order. Nothing is read before it is asked for."""

    kind: str  # what a message calls it

    def __init__(self, path: Path):
        self.path = path
        self.entries: dict[str, TensorEntry] = {}

    def __enter__(self) -> TensorFile:
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def close(self) -> None:
        """Gives back what reading takes."""

    def read_floats(self, name: str) -> FloatArray:
        """Throws InputError where it holds no floating-point numbers."""
        entry = self.entries[name]
        if entry.dtype not in ITEM_BYTES:
            raise InputError(
                f"{self.path}: tensor '{name}': expected float16, bfloat16, float32 or float64, found {entry.dtype}"
            )
        return FloatArray(self._read(name), entry.dtype)

    def read_integers(self, name: str) -> np.ndarray:
        entry = self.entries[name]
        if entry.dtype not in ("int64", "int32", "int16", "uint8", "uint32"):
            raise InputError(f"{self.path}: tensor '{name}': expected integers, found {entry.dtype}")
        return self._read(name)

    @abstractmethod
    def _read(self, name: str) -> np.ndarray:
        """[shape], bfloat16 as its bits."""


def reason(error: Exception) -> str:
    """A library's words for what is wrong with a file, which may be bytes of the file."""
    return first_line(error)[:LONGEST_REASON]


def checked_entry(path: Path, name: str, shape: object, dtype: str) -> TensorEntry:
    """Throws InputError for sizes that no tensor has."""
    if len(shape) > MAX_RANK or any(not isinstance(size, int) or size < 0 for size in shape):
        raise InputError(f"{path}: tensor '{name}': expected up to {MAX_RANK} sizes from 0, found {list(shape)}")
    if math.prod(shape) >= 2**48:
        raise InputError(f"{path}: tensor '{name}': expected fewer than 2^48 elements, found a shape of {list(shape)}")
    return TensorEntry(tuple(shape), dtype)


def open_tensor_file(path: Path) -> TensorFile:
    """By what the file begins with, whatever it is called. Throws InputError: no such file, or of no kind known."""
    from .llama_state import MAGIC, LlamaState
    from .numpy_archive import NumpyArchive
    from .safetensors_file import SafetensorsFile
    from .torch_file import TorchFile, is_torch_archive

    check_input(path)
    try:
        with open(path, "rb") as file:
            head = file.read(16)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if head.startswith(b"PK\x03\x04"):
        return TorchFile(path) if is_torch_archive(path) else NumpyArchive(path)
    if head.startswith(MAGIC):
        return LlamaState(path)
    if head[8:9] == b"{":
        return SafetensorsFile(path)
    if head.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        raise InputError(f"{path}: is a bare pickle, which is not run; torch.save makes files that can be read")
    raise InputError(
        f"{path}: expected safetensors, npz, a file of torch.save or of llama_state_seq_save_file, found another kind"
    )
