"""A file is opened after `kvreplay inspect` has read it, by a program that is found where its users have it."""

import os
import sys
import tempfile
import unittest
from importlib.machinery import ModuleSpec
from pathlib import Path
from unittest import mock

import h5py

from kvreplay.common import inspected_file, kvreplay_program
from kvreplay.common.errors import InputError, UsageError
from kvreplay.common.inspected_file import open_inspected
from kvreplay.common.kvreplay_program import find_program
from tests.support.python.paths import ROOT

PROGRAM = os.environ.get("KVREPLAY_PROGRAM")
GOLDEN = ROOT / "tests" / "golden" / "random-lkv.h5"


class ProgramTest(unittest.TestCase):
    """A test case with a scratch folder, in an environment where no program is found."""

    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.enterContext(mock.patch.dict(os.environ, {"PATH": str(self.folder / "path")}))
        for name in ("KVREPLAY_PROGRAM", "KVREPLAY_TRUST_INPUT"):
            os.environ.pop(name, None)
        self.enterContext(mock.patch.object(sys, "executable", str(self.folder / "venv" / "python")))
        self.enterContext(mock.patch.object(kvreplay_program, "CHECKOUT", self.folder / "sources"))
        self.enterContext(mock.patch.object(kvreplay_program, "find_spec", lambda name: self.module))
        self.module = None  # nothing but Python is installed
        self.enterContext(mock.patch.object(inspected_file, "_inspected", set()))

    def script(self, path: str, text: str = "") -> str:
        program = self.folder / path
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text("#!/bin/sh\n" + text)
        program.chmod(0o755)
        return str(program)


class FindProgram(ProgramTest):
    def test_it_is_named_or_beside_the_interpreter_or_on_the_path_or_in_the_sources(self):
        for place in ("sources/build/kvreplay", "path/kvreplay", "venv/kvreplay"):
            program = self.script(place)
            self.assertEqual(find_program(), program)
        program = self.script("site-packages/kvreplay/bin/kvreplay")
        self.module = ModuleSpec("kvreplay._core", None, origin=str(self.folder / "site-packages/kvreplay/_core.so"))
        self.assertEqual(find_program(), program)
        os.environ["KVREPLAY_PROGRAM"] = os.path.relpath(self.script("mine"))
        self.assertEqual(find_program(), str(self.folder / "mine"))

    def test_the_console_script_of_the_package_is_not_the_program_that_it_looks_for(self):
        front = self.script("venv/kvreplay", "from kvreplay.__main__ import main\n")
        program = self.script("path/kvreplay")
        self.assertEqual(find_program(), program)
        os.environ["KVREPLAY_PROGRAM"] = front
        self.assertEqual(find_program(), program)

    def test_what_cannot_be_run_is_no_program(self):
        Path(self.script("venv/kvreplay")).chmod(0o644)
        (self.folder / "path" / "kvreplay").mkdir(parents=True)
        with self.assertRaisesRegex(UsageError, "build it .*KVREPLAY_PROGRAM.*KVREPLAY_TRUST_INPUT=1"):
            find_program()
        for named in ("absent", "path"):
            os.environ["KVREPLAY_PROGRAM"] = str(self.folder / named)
            self.script("venv/kvreplay")  # not the one that was asked for
            with self.assertRaisesRegex(UsageError, f"KVREPLAY_PROGRAM: .*{named} is no program"):
                find_program()


class InspectedFile(ProgramTest):
    def setUp(self):
        super().setUp()
        self.file = self.folder / "f.h5"
        with h5py.File(self.file, "w") as file:
            file.attrs["format"] = "some"

    def use(self, text: str) -> None:
        os.environ["KVREPLAY_PROGRAM"] = self.script("kvreplay", text)

    def opened(self, path: Path | None = None) -> str:
        with open_inspected(path or self.file) as file:
            return file.attrs["format"]

    def test_a_file_is_inspected_once_and_again_when_it_has_changed(self):
        calls = self.folder / "calls"
        self.use(f'echo "$@" >>"{calls}"')
        link = self.folder / "link.h5"
        link.symlink_to(self.file)
        for path in (self.file, self.file, link):
            self.assertEqual(self.opened(path), "some")
        self.assertEqual(calls.read_text(), f"inspect -- {self.file}\n")
        with h5py.File(self.file, "a") as file:
            file.attrs["more"] = "x" * 1000
        self.opened()
        self.assertEqual(calls.read_text().count("\n"), 2)

    def test_what_the_program_refuses_is_refused_in_its_words(self):
        self.use(f'echo "kvreplay: {self.file}: damaged" >&2; exit 3')
        for _ in range(2):  # also when asked again
            with self.assertRaises(InputError) as caught:
                self.opened()
            self.assertEqual(str(caught.exception), f"{self.file}: damaged")

    def test_a_program_that_fails_otherwise_vouches_for_nothing(self):
        for text, words in (
            ("kill -SEGV $$", "inspect ended with -11"),
            ("exit 1", "inspect ended with 1"),
            ("echo kvreplay: no option >&2; exit 2", "inspect ended with 2: no option"),
        ):
            self.use(text)
            with self.subTest(text), self.assertRaisesRegex(InputError, f"f.h5: .*{words}$"):
                self.opened()

    def test_without_the_program_only_trusted_files_are_opened(self):
        for value in ("", "0", "yes"):
            os.environ["KVREPLAY_TRUST_INPUT"] = value
            with self.assertRaises(UsageError):
                self.opened()
        os.environ["KVREPLAY_TRUST_INPUT"] = "1"
        self.assertEqual(self.opened(), "some")
        del os.environ["KVREPLAY_TRUST_INPUT"]  # an uninspected file does not count as inspected
        with self.assertRaises(UsageError):
            self.opened()

    def test_what_is_no_regular_file_is_refused_at_once(self):
        os.mkfifo(self.folder / "pipe")
        self.use("exit 0")
        for trust in ("0", "1"):
            os.environ["KVREPLAY_TRUST_INPUT"] = trust
            for path in (self.folder / "pipe", Path("/dev/zero"), self.folder):
                with self.assertRaisesRegex(InputError, f"^{path}: is not a regular file$"):
                    self.opened(path)
            with self.assertRaisesRegex(InputError, "absent.h5: No such file"):
                self.opened(self.folder / "absent.h5")

    @unittest.skipUnless(PROGRAM, "KVREPLAY_PROGRAM does not name the program")
    def test_the_program_itself_lets_files_pass_or_says_why_not(self):
        os.environ["KVREPLAY_PROGRAM"] = PROGRAM
        dashed = self.folder / "--json"
        dashed.write_bytes(GOLDEN.read_bytes())
        self.assertEqual(self.opened(dashed), "kvlkv-1")
        dashed.write_bytes(GOLDEN.read_bytes()[:9000])
        with self.assertRaisesRegex(InputError, "--json"):
            self.opened(dashed)
        with self.assertRaisesRegex(InputError, "f.h5"):  # HDF5, but no file of ours
            self.opened()


if __name__ == "__main__":
    unittest.main()
