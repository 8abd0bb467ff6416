"""OpenBLAS's choice of kernels, as core/cpu/blas_core.cpp makes it, for the module of a build tree: an interpreter cannot
start itself again. Wheels have an OpenBLAS that knows newer processors."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CORE, THREADS = "OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS"
_ASK = """\
import ctypes
library = ctypes.CDLL("libopenblas.so.0")
library.openblas_get_corename.restype = ctypes.c_char_p
print(library.openblas_get_corename().decode())
"""


@contextmanager
def chosen_blas_core() -> Iterator[None]:
    """An OpenBLAS that is loaded inside takes the kernels that the program takes; nothing else sees the variables."""
    core = None if CORE in os.environ else _better_core()
    if core is None:
        yield
        return
    before = os.environ.get(THREADS)
    os.environ |= {CORE: core, THREADS: before or "1"}
    try:
        yield
    finally:
        del os.environ[CORE]
        if before is None:
            del os.environ[THREADS]


def _better_core() -> str | None:
    """Nothing where OpenBLAS knows the processor: the fallback is called Prescott, and asked for in a process of its own."""
    asked = subprocess.run([sys.executable, "-ISc", _ASK], capture_output=True, text=True)
    if asked.stdout.strip() != "Prescott":
        return None
    flags = set(Path("/proc/cpuinfo").read_text().partition("\nflags")[2].partition("\n")[0].split())
    if {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= flags:
        return "SkylakeX"
    return "Haswell" if {"avx2", "fma"} <= flags else None
