"""Files of torch.save: tensors in dicts, lists and tuples. torch.load(weights_only=True) builds nothing else."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path

import numpy as np

from ..common.errors import InputError, UsageError
from .tensor_files import BROKEN_ZIP, LONGEST_REASON, TensorFile, checked_entry, reason

MAX_DEPTH = 8
MAX_TENSORS = 2**20


def is_torch_archive(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("data.pkl") for name in archive.namelist())
    except BROKEN_ZIP as error:
        raise InputError(f"{path}: is no valid zip archive: {reason(error)}") from error


class TorchFile(TensorFile):
    """A tensor's name is the way to it: {"a": [x, y]} has "a.0" and "a.1"; a tensor by itself is called "tensor"."""

    kind = "torch.save"

    def __init__(self, path: Path):
        super().__init__(path)
        try:
            import torch
        except ImportError as error:
            raise UsageError(f"{path}: reading it takes PyTorch: pip install torch") from error
        try:
            with warnings.catch_warnings(action="ignore"):
                # Mapped: what is not looked at stays on the disk.
                held = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except Exception as error:  # of many kinds: of pickles, zip archives and storages
            raise InputError(
                f"{path}: expected tensors in dicts, lists and tuples; what else a file holds is not run "
                f"(weights_only): {_reason(error)}"
            ) from error
        self._torch = torch
        self._tensors: dict[str, object] = {}
        self._walk(held, "", 0)

    def close(self) -> None:
        self._tensors.clear()

    def _walk(self, held: object, name: str, depth: int) -> None:
        if depth > MAX_DEPTH or len(self._tensors) > MAX_TENSORS:
            raise InputError(f"{self.path}: expected up to {MAX_TENSORS} tensors, up to {MAX_DEPTH} levels deep")
        if isinstance(held, self._torch.Tensor):
            self._add(name or "tensor", held)
        elif isinstance(held, dict):
            for key, inner in held.items():
                self._walk(inner, f"{name}.{key}" if name else str(key), depth + 1)
        elif isinstance(held, (list, tuple)):
            for index, inner in enumerate(held):
                self._walk(inner, f"{name}.{index}" if name else str(index), depth + 1)

    def _add(self, name: str, tensor) -> None:
        if tensor.layout != self._torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            raise InputError(f"{self.path}: tensor '{name}': expected a dense one, found {tensor.layout}")
        entry = checked_entry(self.path, name, tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise InputError(
                f"{self.path}: tensor '{name}': {tensor.untyped_storage().nbytes()} bytes cannot hold a shape of "
                f"{list(tensor.shape)}"
            )
        self.entries[name] = entry
        self._tensors[name] = tensor

    def _read(self, name: str) -> np.ndarray:
        tensor = self._tensors[name].detach().contiguous()
        return (tensor.view(self._torch.uint16) if tensor.dtype == self._torch.bfloat16 else tensor).numpy()


def _reason(error: Exception) -> str:
    """What weights_only refused, in the words that matter."""
    for line in str(error).splitlines():
        if "GLOBAL" in line or "Unsupported" in line:
            return line.strip()[:LONGEST_REASON]
    return reason(error)
