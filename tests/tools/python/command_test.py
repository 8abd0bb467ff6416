"""The command kvreplay of the package: what it runs itself, what it hands to the program, and what the package declares."""

import os
import subprocess
import sys
import tempfile
import tomllib
import unittest
from pathlib import Path
from unittest import mock

from kvreplay import __main__ as front
from tests.support.python.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PROGRAM = """#!/bin/sh
echo "program: $@"
exit 7
"""


def kvreplay(*words: str, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "kvreplay", *words]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})


class Command(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def program(self) -> str:
        path = self.folder / "kvreplay"
        path.write_text(PROGRAM)
        path.chmod(0o755)
        return str(path)

    def test_the_program_gets_all_words_that_are_not_of_commands_in_python_and_its_exit_code_is_ours(self):
        for words in (["replay", "t.h5", "--help"], ["help", "replay"], ["--version"], ["help"], []):
            done = kvreplay(*words, KVREPLAY_PROGRAM=self.program())
            self.assertEqual((done.returncode, done.stdout), (7, f"program: {' '.join(words)}\n"))

    def test_commands_in_python_run_here(self):
        for words in (["record", "--help"], ["help", "record"]):
            done = kvreplay(*words, KVREPLAY_PROGRAM=self.program())
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("prompts file", done.stdout)
        done = kvreplay("train", "--nonsense", KVREPLAY_PROGRAM=self.program())
        self.assertEqual(done.returncode, 2)
        self.assertIn("error: ", done.stderr)

    def test_help_says_what_else_to_install(self):
        with mock.patch.object(front, "find_spec", lambda name: None), mock.patch.object(sys, "stderr") as stderr:
            with mock.patch.object(sys, "argv", ["kvreplay", "train", "--help"]), self.assertRaises(SystemExit):
                with mock.patch.object(sys, "stdout"):
                    front.main()
        self.assertIn("pip install 'kvreplay[train]'", "".join(call.args[0] for call in stderr.write.call_args_list))

    def test_a_program_that_is_missing_or_cannot_be_run_is_one_line(self):
        for named, code, reason in ((self.folder / "none", 2, "is no program"), (self.program(), 1, "cannot be run")):
            Path(self.program()).write_bytes(b"\x7fELF nonsense")
            done = kvreplay("policies", KVREPLAY_PROGRAM=str(named))
            self.assertEqual(done.returncode, code)
            self.assertRegex(done.stderr, f"^kvreplay: [^\n]*{reason}[^\n]*\n$")

    def test_handing_over_loads_no_numpy(self):
        code = "import sys, kvreplay.__main__, kvreplay.common.kvreplay_program; sys.exit('numpy' in sys.modules)"
        self.assertEqual(subprocess.run([sys.executable, "-c", code]).returncode, 0)

    def test_each_command_in_python_is_a_console_script_and_has_the_extra_that_it_names(self):
        scripts = {f"kvreplay-{name}": f"{module}:command" for name, (module, _, _) in front.PYTHON_COMMANDS.items()}
        self.assertEqual(PROJECT["scripts"], {"kvreplay": "kvreplay.__main__:main", **scripts})
        extras = PROJECT["optional-dependencies"]
        self.assertLessEqual({"record", "train", "ray", "plot", "notebook"}, set(extras))
        for _, extra, library in front.PYTHON_COMMANDS.values():
            self.assertIn(library, extras[extra])


if __name__ == "__main__":
    unittest.main()
