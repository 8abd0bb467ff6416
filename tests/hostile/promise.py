"""What every command promises of every file, whoever made it: it ends soon, with an exit code that it has, takes little
memory, and says at most one printable line of why not."""

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.hostile.commands import RESULT, commands

EXIT_CODES = (0, 2, 3)  # done, usage, bad input
MOST_PROCESSOR_SECONDS = 15
MOST_SECONDS = 30  # on the clock: other programs may want the processors too
MOST_MEMORY = 1 << 30
MOST_CHARACTERS = 600
# What no test may take from the machine that runs it, and far more than is promised.
MOST_HEAP = 4 << 30
MOST_FILE = 256 << 20

BIDI_CONTROLS = {0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}
CONTROLS = {*range(0x20), *range(0x7F, 0xA0), *BIDI_CONTROLS}


@dataclass(frozen=True)
class Run:
    """A command that has ended, and what it took."""

    command: str
    exit_code: int  # negative: the signal that ended it
    late: bool  # it did not end by itself
    processor_seconds: float
    memory: int  # bytes, of the largest process
    out: bytes
    err: bytes

    def __str__(self) -> str:
        text = ascii(self.err[:200].decode("utf-8", "replace").strip())
        return f"{self.command}: exit code {self.exit_code}, {self.memory >> 20} MiB, {text}"


def set_limits() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_HEAP, MOST_HEAP))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MOST_FILE, MOST_FILE))
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_PROCESSOR_SECONDS, MOST_PROCESSOR_SECONDS + 1))


def run(command: str, arguments: Iterable[str | Path], folder: Path, seconds: float = MOST_SECONDS) -> Run:
    """Runs a program in `folder`. Its memory is only known where this process itself is small: it counts from the
    fork on."""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    out, err = folder / "stdout", folder / "stderr"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            [*arguments],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            cwd=folder,
            env=environment,
            preexec_fn=set_limits,
            process_group=0,
        )
    late = threading.Event()

    def end() -> None:
        late.set()
        with contextlib.suppress(ProcessLookupError):  # ended just now
            os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(seconds, end)
    timer.start()
    # Not Popen.wait(): only this tells what the process took, and those that it waited for.
    _, status, usage = os.wait4(process.pid, 0)
    timer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    return Run(
        command=command,
        exit_code=process.returncode,
        late=late.is_set() or process.returncode == -signal.SIGXCPU,
        processor_seconds=usage.ru_utime + usage.ru_stime,
        memory=usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        out=out.read_bytes(),
        err=err.read_bytes(),
    )


def unprintable(stream: str, text: bytes, allowed: str) -> list[str]:
    try:
        characters = set(text.decode())
    except UnicodeDecodeError:
        return [f"{stream} is not UTF-8"]
    controls = any(ord(c) in CONTROLS for c in characters - set(allowed))
    return [f"{stream} has control characters"] if controls else []


def is_json(text: bytes) -> bool:
    try:
        json.loads(text)
        return True
    except ValueError:  # also what is not UTF-8
        return False


def broken_promises(run: Run, secret: bytes = b"") -> list[str]:
    """Each in words that are the same for all files. `secret`: what stands in another file and must not come out."""
    found = []
    if run.late:
        found.append("does not end")
    elif run.exit_code < 0:
        found.append(f"signal {signal.Signals(-run.exit_code).name}")
    elif run.exit_code not in EXIT_CODES:
        found.append(f"exit code {run.exit_code}")
    if not run.late and run.processor_seconds > MOST_PROCESSOR_SECONDS:
        found.append(f"more than {MOST_PROCESSOR_SECONDS} s")
    if run.memory > MOST_MEMORY:
        found.append("more than 1 GiB of memory")
    said = [line for line in run.err.splitlines(keepends=True) if not line.startswith(b"warning: ")]
    if run.exit_code > 0 and not (len(said) == 1 and said[0].startswith(b"kvreplay: ") and said[0].endswith(b"\n")):
        found.append("stderr is not one line")
    if any(len(line) > MOST_CHARACTERS for line in run.err.decode("utf-8", "replace").splitlines()):
        found.append("a line of stderr is too long")
    found += unprintable("stdout", run.out, "\n\t") + unprintable("stderr", run.err, "\n")
    if run.exit_code == 0 and "--json" in run.command and not is_json(run.out):
        found.append("stdout is not JSON")
    if secret and secret in run.out + run.err:
        found.append("shows what stands in another file")
    return found


def outcome(
    program: Path, kind: str, file: Path, seeds: Path, folder: Path, secret: bytes = b""
) -> list[tuple[Run, list[str]]]:
    """Runs every command that reads this kind of file, in `folder`, each with the promises that it broke. A crash or a
    hang ends it: the other commands open the file in the same way."""
    found = []
    for name, arguments in commands(kind, file, seeds).items():
        done = run(name, [program, *arguments], folder)
        broken = broken_promises(done, secret)
        left = list(folder.glob(f"{RESULT}*"))
        if done.exit_code > 0 and left:
            broken.append("leaves something behind")
        for path in left:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        # What changes from run to run comes from memory that is none of the file.
        if name == "inspect --json" and done.exit_code == found[0][0].exit_code > 0 and done.err != found[0][0].err:
            broken.append("does not say the same every time")
        found.append((done, broken))
        if done.late or done.exit_code < 0:
            break
    return found
