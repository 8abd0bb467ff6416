"""npz: a zip archive of arrays, none of them pickled."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from ..common.errors import InputError
from .float_arrays import ITEM_BYTES
from .tensor_files import BROKEN_ZIP, TensorFile, checked_entry, reason

MOST_SHRUNK = 64  # keys and values shrink by 7 to 30 %: what shrank so much more is made to fill the memory


class NumpyArchive(TensorFile):
    kind = "npz"

    def __init__(self, path: Path):
        super().__init__(path)
        try:
            self._zip = zipfile.ZipFile(path)
            for member in self._zip.infolist():
                if member.filename.endswith(".npy"):
                    self._add(member)
        except BROKEN_ZIP as error:
            raise InputError(f"{path}: is no valid npz file: {reason(error)}") from error
        if not self.entries:
            raise InputError(f"{path}: expected arrays (*.npy) in this zip archive, found none")

    def close(self) -> None:
        self._zip.close()

    def _add(self, member: zipfile.ZipInfo) -> None:
        name = member.filename.removesuffix(".npy")
        with self._zip.open(member) as stream:
            version = np.lib.format.read_magic(stream)
            if version not in ((1, 0), (2, 0)):
                raise InputError(f"{self.path}: array '{name}': expected version 1.0 or 2.0 of npy, found {version}")
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, kind = read(stream)
            n_header = stream.tell()
        if kind.hasobject:
            raise InputError(f"{self.path}: array '{name}' holds pickled objects, which are not read")
        entry = checked_entry(self.path, name, shape, kind.name)
        n_bytes = int(np.prod(shape, dtype=np.int64)) * kind.itemsize + n_header
        if member.file_size != n_bytes:
            raise InputError(
                f"{self.path}: array '{name}': expected {n_bytes} bytes for a shape of {list(shape)}, "
                f"found {member.file_size}"
            )
        if member.file_size > MOST_SHRUNK * member.compress_size + 2**20:
            raise InputError(
                f"{self.path}: array '{name}': {member.compress_size} bytes hold {member.file_size}, which no keys and "
                "values do"
            )
        self.entries[name] = entry

    def _read(self, name: str) -> np.ndarray:
        try:
            with self._zip.open(f"{name}.npy") as stream:
                array = np.lib.format.read_array(stream, allow_pickle=False)
                stream.read(1)  # at the end the checksum is compared
        except BROKEN_ZIP as error:
            raise InputError(f"{self.path}: array '{name}' cannot be read: {reason(error)}") from error
        return (
            array if self.entries[name].dtype not in ITEM_BYTES else array.astype(self.entries[name].dtype, copy=False)
        )
