"""A prompts file reads text files below its own folder, and others only when its reader says so."""

import contextlib
import io
import json
import os
import tempfile
import unittest
from pathlib import Path

from kvreplay.commands import record
from kvreplay.common.errors import InputError
from kvreplay.common.prompts import read_prompts
from kvreplay.learning import apply_live


class TextFilesTest(unittest.TestCase):
    def setUp(self):
        root = Path(self.enterContext(tempfile.TemporaryDirectory())).resolve()
        self.secret, self.folder = root / "secret.txt", root / "prompts"
        self.secret.write_text("the key is under the mat")
        (self.folder / "sub").mkdir(parents=True)
        (self.folder / "sub" / "inner.txt").write_text("inside")
        self.prompts = self.folder / "p.jsonl"

    def read(self, name: str, anywhere: bool = False) -> str:
        """The text of a prompt that consists of a text file."""
        self.prompts.write_text(json.dumps({"name": "a", "text": [{"text_file": name}]}) + "\n")
        return read_prompts(self.prompts, anywhere)[0].text.text

    def ways_out(self) -> list[str]:
        (self.folder / "link.txt").symlink_to(self.secret)
        (self.folder / "up").symlink_to("..")
        return [str(self.secret), "../secret.txt", "sub/../../secret.txt", "link.txt", "up/secret.txt"]

    def test_files_below_the_folder_are_read_by_whatever_name(self):
        (self.folder / "link.txt").symlink_to("sub/inner.txt")
        for name in ("sub/inner.txt", "sub/../sub/inner.txt", "link.txt", str(self.folder / "sub/inner.txt")):
            self.assertEqual(self.read(name), "inside", name)
        elsewhere = self.secret.parent / "linked"
        elsewhere.symlink_to(self.folder)
        self.assertEqual(read_prompts(elsewhere / "p.jsonl")[0].text.text, "inside")
        with contextlib.chdir(self.folder):
            self.assertEqual(read_prompts(Path("p.jsonl"))[0].text.text, "inside")

    def test_every_way_out_is_refused_with_file_field_and_path(self):
        for name in self.ways_out():
            with self.subTest(name), self.assertRaises(InputError) as caught:
                self.read(name)
            for words in (f"{self.prompts}:1: text_file: '{name}' is {self.secret}, ", "--allow-text-files-anywhere"):
                self.assertIn(words, str(caught.exception))

    def test_the_option_reads_them(self):
        for name in self.ways_out():
            self.assertEqual(self.read(name, anywhere=True), "the key is under the mat", name)

    def test_the_programs_pass_the_option_on(self):
        self.prompts.write_text('{"name": "a", "text_file": "../secret.txt"}\n')
        for arguments, words in (([], "text_file: "), (["--allow-text-files-anywhere"], "not a model")):
            err = io.StringIO()
            with contextlib.redirect_stderr(err):
                arguments = ["--model", "absent", "--prompts", self.prompts, "-o", self.folder / "t.h5", *arguments]
                self.assertEqual(record.main([str(argument) for argument in arguments]), 3)
            self.assertIn(words, err.getvalue())
        options = ["--model", "m", "--policy", "p", "--prompts", "p", "--allow-text-files-anywhere"]
        self.assertTrue(apply_live.build_parser().parse_args(options).allow_text_files_anywhere)

    def test_what_is_no_regular_file_is_refused_at_once(self):
        os.mkfifo(self.folder / "pipe")
        for name, anywhere in (("pipe", False), ("pipe", True), ("/dev/zero", True)):
            with self.subTest(name), self.assertRaisesRegex(InputError, "p.jsonl:1: text_file: .* not a regular file"):
                self.read(name, anywhere)

    def test_names_that_lead_nowhere_are_refused(self):
        (self.folder / "circle").symlink_to("circle")
        for name in ("absent.txt", "sub", "circle", "nul\0", "a" * 5000):
            with self.subTest(name), self.assertRaisesRegex(InputError, "p.jsonl:1: text_file: cannot read"):
                self.read(name)


if __name__ == "__main__":
    unittest.main()
