"""What the process that reads files says is not believed: one that a file has taken over, or that dies, costs one
printable line.

KVREPLAY_PROGRAM=build/kvreplay python -m pytest tests/hostile/lying_reader_test.py
KVREPLAY_LIES=500 KVREPLAY_SEED=7 ...    so many changed descriptions of each kind of file, others
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile.promise import outcome
from tests.hostile.seeds import KINDS

N_LIES = int(os.environ.get("KVREPLAY_LIES", "8"))
SEED = int(os.environ.get("KVREPLAY_SEED", "1"))

READER = """#!{python} -S
import os, struct, sys
def say(text):
    os.write(1, struct.pack("<Q", len(text)) + text)
VERSION = {version!r}
{lies}
"""
# Says what the true reader says, and of one file something else.
CHANGES = """
import random, subprocess
TRUE_READER, LIED_ABOUT, rng = {reader!r}, {inode}, random.Random({seed!r})
INTEGERS = [0, 1, 2, 3, 255, 256, 65536, 1 << 31, 1 << 32, 1 << 40, 1 << 63, (1 << 64) - 1]
def changed(text):
    text = bytearray(text)
    for _ in range(rng.choice([1, 1, 2, 5])):
        at, width = rng.randrange(1, len(text)), rng.choice([1, 1, 8, 8, 8])
        value = rng.choice(INTEGERS) if rng.random() < 0.7 else int.from_bytes(text[at : at + width], "little") + 1
        text[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, "little")[: len(text) - at]
    return bytes(text)
n_files = int(sys.argv[1])
files = range(3, 3 + n_files)
said = subprocess.run([TRUE_READER, *sys.argv[1:]], pass_fds=files, stdout=subprocess.PIPE).stdout
replies = []
while said:
    (size,) = struct.unpack("<Q", said[:8])
    replies.append(said[8 : 8 + size])
    said = said[8 + size :]
for i, reply in enumerate(replies):
    say(changed(reply) if i and os.fstat(2 + i).st_ino == LIED_ABOUT else reply)
"""
GREETING = 'say(b"R11" + VERSION)\n'
DIES = GREETING + "import signal; signal.pthread_sigmask(signal.SIG_SETMASK, []); os.kill(os.getpid(), signal.{})"

# What it does, its exit code, and what the line says.
LIES = {
    "nothing": ("", 1, "it does not start"),
    "no greeting": ('say(b"I" + bytes(100))', 1, "it does not start"),
    "another version": ('say(b"R110.0.0-other")', 1, "expected version"),
    "cannot start": ('say(b"Fno memory\\x1b[2J")', 1, "it does not start: no memory\\x1b[2J"),
    "no confinement": ('say(b"R01" + VERSION)', 3, "--trust-input"),
    "an index of zeros": (GREETING + 'say(b"I" + bytes(100))', 3, "the HDF5 library failed on its structure"),
    "an index without end": (GREETING + 'say(b"I" + b"\\xff" * 100_000)', 3, "failed on its structure"),
    "an empty reply": (GREETING + 'say(b"")', 3, "failed on its structure"),
    "a reply of 2^60 bytes": (GREETING + 'os.write(1, struct.pack("<Q", 1 << 60))', 3, "failed on its structure"),
    "half of a reply": (GREETING + 'os.write(1, struct.pack("<Q", 100) + b"I")', 3, "failed on its structure"),
    "a complaint of control characters": (GREETING + r'say(b"E\x1b]0;title\x07\n\nsecond line")', 3, r"\x1b]0;title"),
    "a complaint of 20 MB": (GREETING + 'say(b"E" + b"no " * 7_000_000)', 3, "no no no"),
    "another kind of reply": (GREETING + 'say(b"Zap")', 3, "ap"),
    "a crash": (DIES.format("SIGSEGV"), 3, "failed on its structure"),
    "a forbidden call": (DIES.format("SIGSYS"), 3, "failed on its structure"),
    "an unreadable page": (DIES.format("SIGBUS"), 3, "its bytes could not be read"),
    "no more time": (DIES.format("SIGXCPU"), 3, "takes longer"),
    "killed by the system": (DIES.format("SIGKILL"), 1, "it was killed"),
    "silence": (GREETING + "import time; time.sleep(60)", 3, "takes longer"),
}


@pytest.fixture(scope="module")
def copied(program, tmp_path_factory) -> Path:
    """The program, without its reader."""
    return Path(shutil.copy(program, tmp_path_factory.mktemp("bin")))


def put_reader(copied: Path, lies: str) -> None:
    version = subprocess.run([copied, "--version"], check=True, capture_output=True, text=True).stdout.split()[-1]
    reader = copied.with_name("kvreplay-reader")
    reader.write_text(READER.format(python=sys.executable, version=version.encode(), lies=lies))
    reader.chmod(0o755)


@pytest.mark.parametrize("name", LIES)
def test_a_lying_reader_costs_one_line(copied, seeds, tmp_path, name):
    lies, exit_code, reason = LIES[name]
    put_reader(copied, lies)
    environment = {name: value for name, value in os.environ.items() if name != "KVREPLAY_TRUST_INPUT"}
    run = subprocess.run(
        [copied, "inspect", seeds / "plain.h5"], capture_output=True, text=True, env=environment, timeout=40
    )
    assert run.returncode == exit_code, run
    assert run.stdout == ""
    assert run.stderr.startswith("kvreplay: ") and run.stderr.count("\n") == 1
    assert reason in run.stderr
    assert run.stderr.rstrip("\n").isprintable() and len(run.stderr) < 600


@pytest.mark.parametrize("name", KINDS)
def test_no_description_of_a_file_breaks_a_promise(program, copied, seeds, tmp_path, name):
    file = seeds / f"{name}.h5"
    reader = str(program.with_name("kvreplay-reader"))
    found = []
    for case in range(N_LIES):
        seed = f"{SEED}/{name}/{case}"
        put_reader(copied, CHANGES.format(reader=reader, inode=file.stat().st_ino, seed=seed))
        runs = outcome(copied, KINDS[name], file, seeds, tmp_path)
        found += [f"{seed}: {', '.join(broken)}\n  {run}" for run, broken in runs if broken]
    if found:
        pytest.fail("\n".join(found), pytrace=False)
