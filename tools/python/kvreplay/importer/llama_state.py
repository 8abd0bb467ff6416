"""llama.cpp's state of one sequence, as llama_state_seq_save_file() and a server's slot-save write it.

Little-endian: magic, version, tokens; then of each stream its cells (position, sequence), and all layers' keys, a row
per cell, then all layers' values, by row or transposed. Checked against files that llama.cpp wrote in 2026 (versions 2
to 4). Its tensors here: "tokens" [n], "layers.L.k" and "layers.L.v" [n, heads * dim].
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from ..common.errors import InputError
from .float_arrays import numpy_type
from .tensor_files import TensorFile, checked_entry

MAGIC = struct.pack("<I", 0x67677371)  # "ggsq"
VERSIONS = (2, 3, 4)
TYPES = {0: "float32", 1: "float16", 30: "bfloat16"}  # of ggml
MAX_LAYERS, MAX_TOKENS, MAX_ROW = 4096, 2**27, 2**24
CELL = struct.Struct("<iIi")  # position, number of sequences, sequence


class LlamaState(TensorFile):
    kind = "llama.cpp state"

    def __init__(self, path: Path):
        super().__init__(path)
        self._places: dict[str, tuple[int, bool]] = {}  # offset, transposed
        self._size = path.stat().st_size
        with open(path, "rb") as self._file:
            self._scan()

    def _scan(self) -> None:
        _, version, n_tokens = self._take("<III", "the header")
        if version not in VERSIONS:
            raise InputError(f"{self.path}: expected version 2 to 4 of llama.cpp's sequence states, found {version}")
        self._enter("tokens", (self._limited(n_tokens, MAX_TOKENS, "tokens"),), "int32", 4 * n_tokens)
        (n_streams,) = self._take("<I", "the number of streams")
        if n_streams != 1:
            raise InputError(f"{self.path}: expected one stream of cells, found {n_streams}: save one sequence")
        (n_cells,) = self._take("<I", "the number of cells")
        if n_cells == 0:
            raise InputError(f"{self.path}: the sequence is empty")
        self._check_cells(self._limited(n_cells, MAX_TOKENS, "cells"))
        transposed, n_layers = self._take("<II", "the number of layers")
        self._limited(n_layers, MAX_LAYERS, "layers")
        if transposed > 1:
            raise InputError(f"{self.path}: expected values that are transposed or not (1, 0), found {transposed}")
        if version == 4 and self._take("<II", "flags of the cache") != (0, 0):
            raise InputError(f"{self.path}: the keys or values of this cache are rotated, which is not undone here")
        for layer in range(n_layers):
            self._scan_rows(f"layers.{layer}.k", n_cells)
        for layer in range(n_layers):
            if transposed:
                self._scan_columns(f"layers.{layer}.v", n_cells)
            else:
                self._scan_rows(f"layers.{layer}.v", n_cells)
        if self._file.tell() != self._size:
            raise InputError(
                f"{self.path}: expected its end at byte {self._file.tell()}, found {self._size} bytes: a cache of "
                "several parts (sliding windows, recurrent layers), which is not read here"
            )

    def _take(self, form: str, what: str) -> tuple:
        raw = self._file.read(struct.calcsize(form))
        if len(raw) < struct.calcsize(form):
            raise InputError(f"{self.path}: ends within {what}, at byte {self._size}")
        return struct.unpack(form, raw)

    def _limited(self, n: int, most: int, what: str) -> int:
        if n > most:
            raise InputError(f"{self.path}: expected up to {most} {what}, found {n}")
        return n

    def _check_cells(self, n_cells: int) -> None:
        """One sequence, positions 0, 1, 2, ..."""
        raw = self._file.read(CELL.size * n_cells)
        if len(raw) < CELL.size * n_cells:
            raise InputError(f"{self.path}: ends within its {n_cells} cells, at byte {self._size}")
        cells = np.frombuffer(raw, "<i4").reshape(n_cells, 3)
        if (cells[:, 1] != 1).any():
            raise InputError(
                f"{self.path}: expected cells of a position and one sequence, found others (positions of several "
                "dimensions, or tokens beside them), which are not read here"
            )
        off = np.flatnonzero(cells[:, 0] != np.arange(n_cells))
        if len(off):
            raise InputError(
                f"{self.path}: expected the positions 0 to {n_cells - 1} in order, found {cells[off[0], 0]} in cell "
                f"{off[0]}: tokens were taken out, or shifted"
            )

    def _type(self, name: str, number: int) -> str:
        if number not in TYPES:
            raise InputError(
                f"{self.path}: {name}: expected F32, F16 or BF16 (ggml types 0, 1, 30), found type {number}: save with "
                "--cache-type-k f16 --cache-type-v f16"
            )
        return TYPES[number]

    def _scan_rows(self, name: str, n_cells: int) -> None:
        number, row_bytes = self._take("<iQ", name)
        dtype = self._type(name, number)
        item = numpy_type(dtype).itemsize
        if row_bytes % item or not 0 < row_bytes <= MAX_ROW:
            raise InputError(f"{self.path}: {name}: expected rows of 1 to {MAX_ROW} bytes, found {row_bytes}")
        self._enter(name, (n_cells, row_bytes // item), dtype, n_cells * row_bytes)

    def _scan_columns(self, name: str, n_cells: int) -> None:
        number, item, width = self._take("<iII", name)
        dtype = self._type(name, number)
        if item != numpy_type(dtype).itemsize or not 0 < width * item <= MAX_ROW:
            raise InputError(f"{self.path}: {name}: expected elements of {dtype}, found {width} of {item} bytes")
        self._enter(name, (n_cells, width), dtype, n_cells * width * item, transposed=True)

    def _enter(self, name: str, shape: tuple, dtype: str, n_bytes: int, transposed: bool = False) -> None:
        begin = self._file.tell()
        if begin + n_bytes > self._size:
            raise InputError(f"{self.path}: ends within {name}, at byte {self._size}")
        self.entries[name] = checked_entry(self.path, name, shape, dtype)
        self._places[name] = (begin, transposed)
        self._file.seek(begin + n_bytes)

    def _read(self, name: str) -> np.ndarray:
        entry = self.entries[name]
        begin, transposed = self._places[name]
        shape = entry.shape[::-1] if transposed else entry.shape
        n = int(np.prod(shape, dtype=np.int64))
        values = np.fromfile(self.path, numpy_type(entry.dtype), count=n, offset=begin)
        if len(values) < n:
            raise InputError(f"{self.path}: {name}: the file has become shorter")
        return values.reshape(shape).T if transposed else values.reshape(shape)
