"""Traces in the form in which other programs leave tensors, and the importer run inside the test process."""

import contextlib
import io
import json
import tempfile
import unittest
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from kvreplay.commands import import_trace
from tests.support.python.paths import ROOT

NEEDLE = ROOT / "traces" / "examples" / "smollm2-needle.h5"
CONFIG = {
    "model_type": "llama",
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_size": 32,
    "rope_theta": 10000.0,
}
PLAIN = """
axes = ["head", "token", "head_dim"]
keys = "k{layer}"
values = "v{layer}"
queries = "q{layer}"
"""


@dataclass
class Outcome:
    code: int
    out: str
    err: str


def run_importer(*arguments) -> Outcome:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = import_trace.main([str(argument) for argument in arguments])
    return Outcome(code, out.getvalue(), err.getvalue())


def tensors_of(trace: Path) -> dict[str, np.ndarray]:
    """The tensors of a trace's first sample, with the names of the map `plain`."""
    tensors = {}
    with h5py.File(trace) as file:
        sample = file["samples/0000"]
        for layer, group in sample["layers"].items():
            for name, letter in (("queries", "q"), ("keys", "k"), ("values", "v")):
                tensors[f"layers.{int(layer)}.{letter}"] = group[name][()][None]
        tensors["token_ids"] = sample["token_ids"][()]
    return tensors


def random_tensors(n_tokens: int = 12, n_layers: int = 2, queries: bool = True, seed: int = 1) -> dict[str, np.ndarray]:
    """float32, of CONFIG's shape, with the names of PLAIN."""
    random = np.random.default_rng(seed)
    heads = {"q": 4, "k": 2, "v": 2} if queries else {"k": 2, "v": 2}
    return {
        f"{letter}{layer}": random.normal(size=(n, n_tokens, 8)).astype(np.float32)
        for layer in range(n_layers)
        for letter, n in heads.items()
    }


class ImporterTest(unittest.TestCase):
    """A test case with a scratch folder, a configuration and a map."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.config = self.file("config.json", json.dumps(CONFIG))
        self.map = self.file("map.toml", PLAIN)
        self.trace = self.folder / "trace.h5"

    def file(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def npz(self, name: str = "a.npz", **tensors: np.ndarray) -> Path:
        path = self.folder / name
        np.savez(path, **tensors)
        return path

    def attempt(self, *files: Path, map: object = None, options: tuple = ()) -> Outcome:
        return run_importer(map or self.map, *files, "--config", self.config, "-o", self.trace, "--force", *options)

    def imported(self, *files: Path, map: object = None, options: tuple = ()) -> h5py.File:
        outcome = self.attempt(*files, map=map, options=options)
        self.assertEqual((outcome.code, outcome.err), (0, ""))
        file = h5py.File(self.trace)
        self.addCleanup(file.close)
        return file

    def assert_refused(self, outcome: Outcome, code: int, *words: str) -> None:
        """One line, with these words; nothing is left behind."""
        self.assertEqual(outcome.code, code, outcome.err)
        self.assertEqual(len(outcome.err.splitlines()), 1, outcome.err)
        for word in words:
            self.assertIn(word, outcome.err)
        self.assertLess(len(outcome.err), 600)
        self.assertEqual([path.name for path in self.folder.iterdir() if path.name.startswith("trace.h5")], [])
