"""No program destroys what it reads, whatever --force allows."""

import os
import tempfile
import unittest
from pathlib import Path

from kvreplay.commands import record, train, validate
from kvreplay.common.errors import InputError, UsageError
from kvreplay.common.file_roles import check_outputs
from kvreplay.common.prompts import read_prompts
from kvreplay.learning import export, from_mlp


class FileRoles(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.input = self.folder / "t.h5"
        self.input.write_text("content")

    def refused(self, outputs: list[Path], inputs: list[Path]) -> str:
        with self.assertRaises(UsageError) as caught:
            check_outputs(outputs, inputs, force=True)
        return str(caught.exception)

    def test_an_output_is_no_input_however_it_is_spelled_or_linked(self):
        (self.folder / "symbolic.h5").symlink_to(self.input)
        (self.folder / "hard.h5").hardlink_to(self.input)
        (self.folder / "sub").mkdir()
        for name in ("t.h5", "sub/../t.h5", "symbolic.h5", "hard.h5"):
            self.assertIn("would be lost", self.refused([self.folder / name], [self.input]))
        temporary = self.folder / "r.h5.tmp"
        temporary.write_text("content")
        self.assertIn("would be lost", self.refused([self.folder / "r.h5"], [temporary]))
        check_outputs([self.folder / "r.h5", self.folder / "sub/t.h5"], [self.input], force=False)

    def test_the_files_of_a_folder_that_is_read_are_inputs(self):
        model = self.folder / "model"
        model.mkdir()
        (model / "model.safetensors").write_text("weights")
        self.refused([model / "model.safetensors"], [model])
        check_outputs([model / "trace.h5"], [model], force=False)

    def test_two_outputs_are_two_files(self):
        a = self.folder / "a"
        for other in (a, self.folder / "a.tmp", self.folder / "." / "a"):
            self.assertIn("are one file", self.refused([a, other], []))

    def test_pipes_are_refused_where_a_program_would_wait_for_them(self):
        pipe = self.folder / "pipe"
        os.mkfifo(pipe)
        with self.assertRaisesRegex(InputError, "not a regular file"):
            check_outputs([self.folder / "r.h5"], [pipe], force=False)
        with self.assertRaisesRegex(InputError, "not a regular file"):
            read_prompts(pipe)
        prompts = self.folder / "prompts.jsonl"
        prompts.write_text('{"name": "a", "text_file": "pipe"}\n')
        with self.assertRaisesRegex(InputError, "not a regular file"):
            read_prompts(prompts)

    def test_every_program_refuses(self):
        prompts = self.folder / "prompts.jsonl"
        prompts.write_text('{"name": "a", "text": [{"text_file": "text.txt"}]}\n')
        text = self.folder / "text.txt"
        text.write_text("Once upon a time")
        files = {path: path.read_bytes() for path in (self.input, prompts, text)}
        commands = [
            (record.main, ["--model", self.folder / "m", "--prompts", prompts, "-o", prompts]),
            (record.main, ["--model", self.folder / "m", "--prompts", prompts, "-o", text]),
            (record.main, ["--model", self.input, "--prompts", prompts, "-o", self.input]),
            (train.main, [self.input, "-o", self.input]),
            (train.main, [text, "--held-out", self.input, "-o", self.input]),
            (validate.main, ["--model", text, "--replay", self.input, text, prompts, "--csv", prompts]),
            (validate.main, ["--model", text, "--replay", text, text, text, "--csv", "a", "--json", "a"]),
            (from_mlp.main, [self.input, "--trace", text, "--inputs", "v", "-o", self.input]),
        ]
        for main, arguments in commands:
            self.assertEqual(main([*map(str, arguments), "--force"]), 2, arguments)
        policy = self.folder / "p.npz"
        policy.write_text("content")
        self.assertEqual(export.main([str(policy), str(policy), "--force"]), 2)
        for path, content in files.items():
            self.assertEqual(path.read_bytes(), content)
        self.assertEqual(policy.read_text(), "content")
        self.assertEqual(len(os.listdir(self.folder)), 4)


if __name__ == "__main__":
    unittest.main()
