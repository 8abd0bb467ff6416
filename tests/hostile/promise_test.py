"""The promise itself: what a program does that breaks it is noticed."""

import sys
from pathlib import Path

import pytest

from tests.hostile.promise import broken_promises, run

WAITS = "import time; time.sleep(60)"
GOOD = (
    "import sys; sys.stdout.write('table\\t1\\n'); sys.stderr.write('kvreplay: f.h5: expected a trace\\n'); sys.exit(3)"
)
BREAKS = {
    "signal SIGSEGV": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
    "exit code 1": "import sys; sys.exit('kvreplay: internal error')",
    "more than 1 GiB of memory": "len(bytes(1100 << 20).translate(bytes(256)))",
    "stderr is not one line": "import sys; sys.stderr.write('kvreplay: a\\nb\\n'); sys.exit(3)",
    "a line of stderr is too long": "import sys; sys.stderr.write('kvreplay: ' + 'n' * 600); sys.exit(0)",
    "stdout has control characters": "print('\\x1b[31m')",
    "stderr has control characters": "import sys; sys.stderr.buffer.write('kvreplay: \\x1b\\n'.encode()); sys.exit(3)",
    "stdout is not UTF-8": "import sys; sys.stdout.buffer.write(b'\\xff')",
    "shows what stands in another file": "print('the secret')",
}


def run_python(code: str, folder: Path, seconds: float = 30):
    return run("command", [sys.executable, "-c", code], folder, seconds)


def test_a_program_that_keeps_it(tmp_path):
    done = run_python(GOOD, tmp_path)
    assert done.exit_code == 3
    assert broken_promises(done, secret=b"secret") == []


@pytest.mark.parametrize("promise", BREAKS)
def test_what_breaks_it(tmp_path, promise):
    broken = broken_promises(run_python(BREAKS[promise], tmp_path), secret=b"secret")
    # Where a message is wrong as a whole, that is said besides.
    assert [found for found in broken if found != "stderr is not one line" or found == promise] == [promise]


@pytest.mark.parametrize("character", ["\x07", "\x7f", "\x85", "\x9b", "\u200f", "\u202d", "\u2069"])
def test_characters_that_do_something_to_a_terminal(tmp_path, character):
    done = run_python(f"import sys; sys.stdout.buffer.write({ascii(character)}.encode())", tmp_path)
    assert broken_promises(done) == ["stdout has control characters"]


def test_a_program_that_does_not_end_by_itself(tmp_path):
    done = run_python(WAITS, tmp_path, seconds=0.5)
    assert done.late
    assert broken_promises(done) == ["does not end"]
