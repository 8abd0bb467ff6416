"""Runs a program on a machine that fails: with failing_calls.c loaded before the C library."""

import errno
import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("failing_calls.c")


def build_library(folder: Path) -> Path:
    library = folder / "failing_calls.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, SOURCE, "-ldl"], check=True)
    return library


@dataclass(frozen=True)
class Fault:
    """What fails: the names of system calls, which are counted together."""

    calls: tuple[str, ...]
    error: int = errno.EIO
    forever: bool = False
    kill: bool = False

    def __str__(self) -> str:
        how = "killed at" if self.kill else errno.errorcode[self.error] + (" from" if self.forever else " at")
        return f"{how} {' or '.join(self.calls)}"


@dataclass(frozen=True)
class FailedRun:
    exit_code: int
    err: str
    fired: bool  # there were as many calls as that


class FailingMachine:
    def __init__(self, library: Path, folder: Path) -> None:
        """`folder`: where programs run. What they report goes beside it."""
        self.library, self.folder = library, folder
        self.report = folder.with_name(f"{folder.name}.report")

    def run(self, arguments: Iterable[str | Path], fault: Fault, at: int) -> FailedRun:
        """`at`: the call that fails, from 1"""
        self.report.unlink(missing_ok=True)
        environment = {
            "LD_PRELOAD": str(self.library),
            "KVREPLAY_FAIL_CALL": ",".join(fault.calls),
            "KVREPLAY_FAIL_AT": str(at),
            "KVREPLAY_FAIL_ERRNO": str(fault.error),
            "KVREPLAY_FAIL_FOREVER": str(int(fault.forever)),
            "KVREPLAY_FAIL_KILL": str(int(fault.kill)),
            "KVREPLAY_FAIL_REPORT": str(self.report),
        }
        done = run(arguments, self.folder, environment)
        # Who is killed reports nothing.
        n_calls = int(self.report.read_text()) if self.report.exists() else at
        return FailedRun(done.returncode, done.stderr, fired=n_calls >= at)


def run(arguments: Iterable[str | Path], folder: Path, environment: dict[str, str] = {}) -> subprocess.CompletedProcess:
    variables = os.environ | {"OPENBLAS_NUM_THREADS": "1"} | environment
    return subprocess.run([*arguments], cwd=folder, env=variables, capture_output=True, text=True, timeout=120)
