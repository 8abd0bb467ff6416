"""safetensors: the package checks the header, the numbers are read where the header says, for NumPy has no bfloat16."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ..common.errors import InputError, UsageError
from .float_arrays import numpy_type
from .tensor_files import TensorFile, checked_entry, reason

DTYPES = {
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "U8": "uint8",
    "U32": "uint32",
}


class SafetensorsFile(TensorFile):
    kind = "safetensors"

    def __init__(self, path: Path):
        super().__init__(path)
        try:
            from safetensors import SafetensorError, safe_open
        except ImportError as error:
            raise UsageError(f"{path}: reading safetensors takes the package: pip install safetensors") from error
        try:
            with safe_open(path, framework="numpy"):
                pass  # the header is whole, and tensors fill the file without gaps
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path}: is no valid safetensors file: {reason(error)}") from error
        with open(path, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
        self._begins = {}
        for name, row in header.items():
            if name != "__metadata__":
                self.entries[name] = checked_entry(path, name, row["shape"], DTYPES.get(row["dtype"], row["dtype"]))
                self._begins[name] = 8 + size + row["data_offsets"][0]

    def _read(self, name: str) -> np.ndarray:
        entry = self.entries[name]
        kind = numpy_type(entry.dtype)
        n = int(np.prod(entry.shape, dtype=np.int64))
        values = np.fromfile(self.path, kind, count=n, offset=self._begins[name])
        if len(values) < n:
            raise InputError(f"{self.path}: tensor '{name}': the file has become shorter")
        return values.reshape(entry.shape)
