"""A machine that fails at any moment: a command either says so, and the same command goes on later to the same bytes,
or has made them all the same. Nothing half-written is left.

KVREPLAY_PROGRAM names the program. KVREPLAY_FAIL_STEP says which pwrites fail, of which there are hundreds: 11 for the
first, the twelfth, ... (11); 1 for every one. Of the other calls every one does.
"""

import os
import signal
import sys
from dataclasses import dataclass
from errno import EIO, ENOSPC
from pathlib import Path

import pytest

from tests.faults.failing_machine import FailedRun, FailingMachine, Fault, build_library, run

STEP = int(os.environ.get("KVREPLAY_FAIL_STEP", "11"))
MOST_CALLS = 10_000
DONE, FAILED, REFUSED = 0, 1, 2  # exit codes

SHAPE = [
    *("--layers", "2", "--q-heads", "2", "--kv-heads", "1", "--head-dim", "8", "--value-dim", "8"),
    *("--prompt", "48", "--question", "8", "--decode", "8"),
    *("--needles", "1", "--needle-length", "4", "--clusters", "4"),
]
REPLAY = [  # of two units
    *("replay", "trace.h5", "-p", "knorm,h2o", "-m", "output_error,kept_fraction", "-b", "0.2,0.5"),
    *("--compression-point", "prompt", "-j", "1"),
]
EXTRAS = ["--save-retained", "sets.h5", "--save-outputs", "outputs.h5"]
SHARDS = ["shards.shard-1-of-2.h5", "shards.shard-2-of-2.h5"]


@dataclass(frozen=True)
class Command:
    arguments: list[str]
    outputs: list[str]


COMMANDS = {
    "synth": Command(["synth", *SHAPE, "--seed", "2", "-o", "made.h5"], ["made.h5"]),
    "replay": Command([*REPLAY, *EXTRAS, "-o", "made.h5"], ["made.h5", "sets.h5", "outputs.h5"]),
    "replay with a page": Command([*REPLAY, "--report", "page.html", "-o", "made.h5"], ["made.h5", "page.html"]),
    "report": Command(["report", "results.h5", "-o", "page.html", "--force"], ["page.html"]),
    "shard": Command([*REPLAY, *EXTRAS, "-o", "made.h5", "--shard", "1/2"], ["made.shard-1-of-2.h5"]),
    "merge": Command(["merge", *SHARDS, *EXTRAS, "-o", "made.h5"], ["made.h5", "sets.h5", "outputs.h5"]),
    "compare": Command(
        # It does not go on where it stopped: it makes both again.
        ["compare", "results.h5", "--csv", "made.csv", "--json", "made.json", "--force"],
        ["made.csv", "made.json"],
    ),
    "fit-budgets": Command(
        ["fit-budgets", "learn-1.h5", "learn-2.h5", "--scorer", "knorm", "--least", "2", "-j", "1", "-o", "made.h5"],
        ["made.h5"],
    ),
}
FAULTS = [
    *[Fault((call,)) for call in ("pwrite", "rename", "ftruncate", "close")],
    *[Fault(("write", "writev")), Fault(("fsync", "fdatasync"))],
    Fault(("write", "writev", "pwrite", "fsync", "fdatasync"), error=ENOSPC, forever=True),  # a full disk
]
KILLS = [Fault((call,), kill=True) for call in ("rename", "fsync")]


@pytest.fixture(scope="session")
def program() -> str:
    name = os.environ.get("KVREPLAY_PROGRAM")
    if not name:
        pytest.skip("KVREPLAY_PROGRAM does not name the program")
    return str(Path(name).resolve())


@pytest.fixture(scope="session")
def library(tmp_path_factory) -> Path:
    return build_library(tmp_path_factory.mktemp("library"))


class Folder:
    """Where a command runs again and again: with its inputs, and what an undisturbed run made of them."""

    def __init__(self, path: Path, program: str) -> None:
        self.path, self.program = path, program
        path.mkdir()
        self.run_well(["synth", *SHAPE, "-o", "trace.h5"])
        self.run_well([*REPLAY, "-o", "results.h5"])
        for shard in ("1/2", "2/2"):
            self.run_well([*REPLAY, *EXTRAS, "-o", "shards.h5", "--shard", shard])
        for seed in ("1", "2"):
            self.run_well(["synth", *SHAPE, "--sensitivity", "2", "--seed", seed, "-o", f"learn-{seed}.h5"])
        self.inputs = self.files()

    def run_well(self, arguments: list[str]) -> None:
        done = run([self.program, *arguments], self.path)
        assert done.returncode == DONE, done.stderr

    def files(self) -> dict[str, bytes]:
        """All that is there, by path."""
        found = (path for path in self.path.rglob("*") if path.is_file())
        return {str(path.relative_to(self.path)): path.read_bytes() for path in found}

    def expected(self, command: Command) -> dict[str, bytes]:
        """All that is there when the command is done."""
        self.run_well(command.arguments)
        files = self.files()
        assert files.keys() == self.inputs.keys() | {*command.outputs}
        self.clear()
        return files

    def clear(self) -> None:
        """Leaves the inputs alone there."""
        for name in self.files().keys() - self.inputs.keys():
            (self.path / name).unlink()
        for path in self.path.iterdir():
            if path.is_dir():
                path.rmdir()

    def wrong(self, expected: dict[str, bytes]) -> str:
        """What is there, is not the journal of a replay, and should not be there."""
        files = self.files()
        odd = [name for name in files if ".units/" not in name and files[name] != expected.get(name)]
        return ", ".join(odd + [name for name in files if name.endswith(".tmp") and name not in odd])

    def missing(self, expected: dict[str, bytes]) -> str:
        """What should be there and is not, and what is too much."""
        files, folders = self.files(), {path.name for path in self.path.iterdir() if path.is_dir()}
        return ", ".join(sorted(folders | {name for name in files | expected if files.get(name) != expected.get(name)}))


@pytest.fixture(scope="module")
def folder(program, tmp_path_factory) -> Folder:
    return Folder(tmp_path_factory.mktemp("faults") / "folder", program)


def problem_of(folder: Folder, command: Command, failed: FailedRun, expected: dict[str, bytes]) -> str:
    """What was wrong with how a command failed, or with the same command afterwards; "" where nothing was."""
    if failed.exit_code == DONE:
        wrong = folder.missing(expected)
        return f"exit code 0, but missing or wrong: {wrong}" if wrong else ""
    if failed.exit_code not in (FAILED, -signal.SIGKILL):
        return f"exit code {failed.exit_code}: {failed.err}"
    if failed.exit_code == FAILED:
        errors = [line for line in failed.err.splitlines() if not line.startswith("warning: ")]
        if len(errors) != 1 or not errors[0].startswith("kvreplay: "):
            return f"not one line: {failed.err!r}"
        if wrong := folder.wrong(expected):
            return f"it failed and left {wrong}"
    again = run([folder.program, *command.arguments], folder.path)
    exists = again.returncode == REFUSED and "exists; --force overwrites it" in again.stderr  # it had all been done
    if again.returncode != DONE and not exists:
        return f"the same command: exit code {again.returncode}: {again.stderr}"
    wrong = folder.missing(expected)
    return f"after the same command, missing or wrong: {wrong}" if wrong else ""


def problems(folder: Folder, library: Path, command: Command, fault: Fault, step: int) -> list[str]:
    """Lets the first, the step-th after it, ... of the calls fail, until none is left to fail."""
    machine = FailingMachine(library, folder.path)
    expected = folder.expected(command)
    found = []
    for at in range(1, MOST_CALLS, step):
        failed = machine.run([folder.program, *command.arguments], fault, at)
        if problem := problem_of(folder, command, failed, expected):
            found.append(f"{fault} {at}: {problem.strip()}")
        folder.clear()
        if not failed.fired:
            return found
    raise AssertionError(f"more than {MOST_CALLS} calls")


@pytest.mark.parametrize("fault", FAULTS, ids=str)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_call_that_fails_costs_no_byte(folder, library, name, fault):
    step = STEP if "pwrite" in fault.calls else 1
    if found := problems(folder, library, COMMANDS[name], fault, step):
        pytest.fail("\n".join(found), pytrace=False)


@pytest.mark.parametrize("fault", KILLS, ids=str)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_kill_costs_no_byte(folder, library, name, fault):
    if found := problems(folder, library, COMMANDS[name], fault, step=1):
        pytest.fail("\n".join(found), pytrace=False)


WRITES = """
import os, sys
for n in range(4):
    os.write(1, b"a pipe\\n")
    try:
        with open("file", "ab", buffering=0) as file:
            file.write(b"x")
    except OSError as error:
        os.write(2, f"{n}: {error.errno}\\n".encode())
"""


@pytest.mark.parametrize(("forever", "failed"), [(False, [2]), (True, [2, 3])])
def test_the_machine_fails_where_it_is_told_to(library, tmp_path, forever, failed):
    (tmp_path / "folder").mkdir()
    machine = FailingMachine(library, tmp_path / "folder")
    done = machine.run([sys.executable, "-c", WRITES], Fault(("write",), ENOSPC, forever), 3)
    assert done.err == "".join(f"{n}: {ENOSPC}\n" for n in failed)
    assert done.fired
    assert (tmp_path / "folder" / "file").stat().st_size == 4 - len(failed)
    assert not machine.run([sys.executable, "-c", WRITES], Fault(("write",), EIO), 5).fired
    killed = machine.run([sys.executable, "-c", WRITES], Fault(("write",), kill=True), 1)
    assert killed.exit_code == -signal.SIGKILL
