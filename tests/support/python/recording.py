"""Runs kvreplay record inside the test process, where its libraries are loaded once, and reads what it wrote."""

import contextlib
import io
import json
import os
import tempfile
import unittest
from dataclasses import dataclass
from pathlib import Path

os.environ["TQDM_DISABLE"] = "1"  # kvreplay record sets it for itself, here the libraries load first

import torch
import transformers

from kvreplay.commands import record
from tests.support.python.tiny_models import save_tiny_model

torch.set_num_threads(1)  # threads only wait for each other in models this small
transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()

# About 60 tokens of the tiny tokenizer: longer than every sliding window in the tests.
TEXT = "the cat on the mat and the other cat in a corner on the floor of the inner room"


@dataclass
class Outcome:
    code: int
    out: str
    err: str


def run_recorder(*arguments) -> Outcome:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = record.main([str(argument) for argument in arguments])
    return Outcome(code, out.getvalue(), err.getvalue())


class RecorderTest(unittest.TestCase):
    """A test case with a scratch folder, and models made once per kind for the whole class."""

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = Path(folder.name)
        cls._models = {}

    def model(self, kind: str = "llama") -> Path:
        if kind not in self._models:
            self._models[kind] = save_tiny_model(self.folder / "models" / kind, kind)
        return self._models[kind]

    def prompts(self, *prompts: dict) -> Path:
        """Writes a prompts file of its own for this test."""
        path = self.folder / f"{self.id().rsplit('.', 1)[1]}.jsonl"
        path.write_text("".join(json.dumps(prompt) + "\n" for prompt in prompts), encoding="utf-8")
        return path

    def trace(self) -> Path:
        return self.folder / f"{self.id().rsplit('.', 1)[1]}.h5"

    def record(self, *arguments, model: Path | None = None, prompts: Path | None = None) -> Outcome:
        """Records float32 and 8 decoded tokens unless told otherwise, and expects success."""
        outcome = self.attempt(*arguments, model=model, prompts=prompts)
        self.assertEqual(outcome.code, 0, outcome.err)
        return outcome

    def attempt(self, *arguments, model: Path | None = None, prompts: Path | None = None) -> Outcome:
        prompts = prompts or self.prompts({"name": "a", "text": TEXT})
        defaults = [
            "--model",
            model or self.model(),
            "--prompts",
            prompts,
            "--output",
            self.trace(),
            "--dtype",
            "float32",
            "--decode",
            8,
        ]
        return run_recorder(*defaults, *arguments)  # the last of an option given twice counts

    def assert_refused(self, outcome: Outcome, code: int, *words: str) -> None:
        """One line on stderr that holds `words`; no trace, whole or half."""
        self.assertEqual(outcome.code, code, outcome.err)
        self.assertEqual(outcome.err.count("\n"), 1, outcome.err)
        self.assertTrue(outcome.err.startswith("kvreplay record: error: "), outcome.err)
        for word in words:
            self.assertIn(word, outcome.err)
        self.assertEqual(list(self.folder.glob(self.trace().name + "*")), [])
