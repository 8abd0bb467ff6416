"""Limits that a shell or a scheduler sets end a command with a line, not with a signal and not by waiting for ever."""

import os
import resource
import subprocess
import unittest
from pathlib import Path
from tempfile import TemporaryDirectory

PROGRAM = os.environ["KVREPLAY_PROGRAM"]
MIB = 1 << 20


def run(*words: object, limit: int, n_bytes: int) -> subprocess.CompletedProcess:
    """The program with a limit on a resource."""
    return subprocess.run(
        [PROGRAM, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: resource.setrlimit(limit, (n_bytes, n_bytes)),
    )


class Limits(unittest.TestCase):
    def setUp(self):
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.trace = self.folder / "t.h5"
        small = ["--layers", "2", "--prompt", "256", "--decode", "16"]
        subprocess.run([PROGRAM, "synth", "-o", self.trace, *small], check=True, capture_output=True)
        self.replay = ["replay", self.trace, "-p", "knorm,leverage", "-o", self.folder / "r.h5", "-q"]

    def check_one_line(self, done: subprocess.CompletedProcess, text: str):
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertTrue(done.stderr.startswith("kvreplay: "), done.stderr)
        self.assertIn(text, done.stderr)
        self.assertEqual([path.name for path in self.folder.iterdir()], ["t.h5"])

    def test_a_limit_on_the_address_space_that_does_not_let_it_begin(self):
        for words in (["--version"], ["inspect", self.trace], self.replay):
            done = run(*words, limit=resource.RLIMIT_AS, n_bytes=150 * MIB)
            self.assertEqual(done.returncode, 1, done.stderr)
            self.check_one_line(done, "the limit on address space (ulimit -v) leaves")

    def test_a_limit_on_the_address_space_that_threads_do_not_fit_into(self):
        # OpenBLAS 0.3.21 waits for ever for memory that it does not get.
        done = run(*self.replay, "-j", 8, limit=resource.RLIMIT_AS, n_bytes=900 * MIB)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.check_one_line(done, "8 threads of work take about 1.")

    def test_a_limit_on_the_address_space_that_leaves_enough(self):
        done = run(*self.replay, "-j", 1, limit=resource.RLIMIT_AS, n_bytes=2048 * MIB)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_a_limit_on_the_size_of_files(self):
        for output in ([], ["--save-outputs", self.folder / "outputs.h5"]):
            done = run(*self.replay, *output, limit=resource.RLIMIT_FSIZE, n_bytes=8192)
            self.assertEqual(done.returncode, 1, done.stderr)
            self.check_one_line(done, "File too large")

    def test_a_limit_on_open_files_takes_units_in_smaller_groups(self):
        many = self.folder / "many.h5"
        shape = ["--layers", "40", "--q-heads", "2", "--kv-heads", "1", "--head-dim", "8", "--prompt", "96"]
        subprocess.run([PROGRAM, "synth", "-o", many, *shape], check=True, capture_output=True)
        words = ["replay", many, "-p", "knorm", "-o", self.folder / "r.h5", "-q"]
        done = run(*words, limit=resource.RLIMIT_NOFILE, n_bytes=32)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_too_few_open_files_are_not_the_input_s_fault(self):
        done = run(*self.replay, limit=resource.RLIMIT_NOFILE, n_bytes=4)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.check_one_line(done, "Too many open files")


if __name__ == "__main__":
    unittest.main()
