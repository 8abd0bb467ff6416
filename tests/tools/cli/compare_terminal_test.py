"""What `kvreplay compare` writes to terminals of some widths, and what it does with names that are long or hostile.

KVREPLAY_PROGRAM=build/kvreplay python3 -m pytest tests/tools/cli/compare_terminal_test.py
"""

import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import tempfile
import termios
import unittest
from pathlib import Path

import h5py

from tests.support.python.paths import ROOT

PROGRAM = os.environ.get("KVREPLAY_PROGRAM")
RESULTS = ROOT / "tests/golden/formats/results.h5"
WIDTHS = (40, 60, 80, 98, 200)
COLOUR = re.compile(r"\x1b\[\d*m")


def environment(**more: str) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    return plain | {"LC_ALL": "C.UTF-8", "TERM": "xterm"} | more


def on_terminal(*args: str, columns: int = 98, **more: str) -> str:
    """Its output on a terminal of this width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    with subprocess.Popen(
        [PROGRAM, "compare", *map(str, args)], stdout=theirs, stderr=subprocess.PIPE, env=environment(**more)
    ) as process:
        os.close(theirs)
        text = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # Linux says so where the other end is closed
                break
            if not piece:
                break
            text += piece
        error = process.stderr.read()
    os.close(ours)
    assert process.returncode == 0, error
    return text.decode().replace("\r\n", "\n")


@unittest.skipUnless(PROGRAM, "KVREPLAY_PROGRAM does not name the program")
class CompareTerminal(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="kvreplay-test-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def renamed(self, rename) -> Path:
        """Results whose policies are called otherwise."""
        path = self.folder / "renamed.h5"
        shutil.copy(RESULTS, path)
        with h5py.File(path, "r+") as file:
            names = [rename(i, name.decode()) for i, name in enumerate(file["policy"])]
            scale = file["policy"]
            for i, name in enumerate(names):
                scale[i] = name
        return path

    def check_widths(self, results: Path) -> None:
        for columns in WIDTHS:
            for how in ((), ("--all",), ("--by", "layer"), ("--by", "head"), ("--by", "case"), ("--notes",)):
                text = COLOUR.sub("", on_terminal(results, *how, columns=columns))
                widest = max(text.splitlines(), key=len)
                # Words of notes and commands may be longer than a narrow terminal.
                if columns >= 60 and how != ("--notes",):
                    self.assertLessEqual(len(widest), columns, f"{how}: {widest}")
                self.assertNotIn("nan", text.split())

    def test_no_line_is_wider_than_the_terminal(self):
        self.check_widths(RESULTS)
        self.assertEqual(on_terminal(RESULTS, columns=60), on_terminal(RESULTS, columns=98, COLUMNS="60"))

    def test_names_of_200_characters_are_cut(self):
        self.check_widths(self.renamed(lambda i, name: f"{name}:{'x' * 200}{i}"))

    def test_names_that_would_do_something_to_a_terminal_are_refused(self):
        done = subprocess.run(
            [PROGRAM, "compare", self.renamed(lambda i, name: f"\x1b[31m{name}")], capture_output=True, text=True
        )
        self.assertEqual(done.returncode, 3)
        self.assertNotIn("\x1b", done.stdout + done.stderr)

    def test_the_users_own_files_are_words_for_a_shell(self):
        odd = self.folder / "it's $(here).h5"
        shutil.copy(RESULTS, odd)
        text = subprocess.run(
            [PROGRAM, "compare", odd.name],
            cwd=self.folder,
            capture_output=True,
            text=True,
            env=environment(),
            check=True,
        ).stdout
        command = next(line for line in text.splitlines() if " --tables" in line).strip()
        words = subprocess.run(
            ["bash", "-c", f"printf '%s\\n' {command}"], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        self.assertEqual(words[:4], ["kvreplay", "compare", odd.name, "--tables"])

    def test_colour_is_for_terminals_that_want_it(self):
        self.assertRegex(on_terminal(RESULTS), COLOUR)
        self.assertRegex(on_terminal(RESULTS, NO_COLOR=""), COLOUR)
        self.assertNotRegex(on_terminal(RESULTS, NO_COLOR="1"), COLOUR)
        self.assertNotRegex(on_terminal(RESULTS, TERM="dumb"), COLOUR)
        piped = subprocess.run(
            [PROGRAM, "compare", RESULTS], capture_output=True, text=True, env=environment(COLUMNS="60"), check=True
        ).stdout
        self.assertEqual(piped, COLOUR.sub("", on_terminal(RESULTS)))


if __name__ == "__main__":
    unittest.main()
