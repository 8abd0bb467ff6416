"""Tells traces and prompts apart, with the values that kvreplay itself computes (C++: FileBytes, prompt_digest)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import xxhash

END_BYTES = 1 << 20
BLOCK_BYTES = 64 << 10
N_BLOCKS = 64


def file_fingerprint(path: Path) -> str:
    """XXH3-128 of a file's size, its first and last MiB and 64 evenly spaced blocks of 64 KiB, as 32 hex digits.

    The same as `kvreplay inspect` shows and results carry as `case_fingerprint`.
    """
    size = os.stat(path).st_size
    digest = xxhash.xxh3_128()
    digest.update(f"{size} bytes".encode())
    with open(path, "rb") as file:
        for offset, length in [
            (0, END_BYTES),
            (size - min(size, END_BYTES), END_BYTES),
            *((block * (size // N_BLOCKS), BLOCK_BYTES) for block in range(N_BLOCKS)),
        ]:
            file.seek(offset)
            digest.update(file.read(length))
    return digest.hexdigest()


def prompt_digest(token_ids: np.ndarray) -> str:
    """XXH3-128 of a prompt's token ids as little-endian int32, as 32 hex digits. \\param token_ids [decode_start]

    It stays the same when a prompt is recorded again, with other layers or extras.
    """
    return xxhash.xxh3_128(np.ascontiguousarray(token_ids, dtype="<i4").tobytes()).hexdigest()
