"""The examples of docs/recording.md run, one after another, with a tiny model."""

import contextlib
import importlib.util
import re
import unittest

import h5py

from tests.support.python.live_models import LiveTest
from tests.support.python.paths import ROOT

EXAMPLE = re.compile(r"^```py\n(.*?)^```", re.MULTILINE | re.DOTALL)


class RecordingDocument(LiveTest):
    def test_its_examples_run(self):
        examples = EXAMPLE.findall((ROOT / "docs/recording.md").read_text())
        self.assertEqual(len(examples), 4)
        scope = {"model": self.model(), "tokenizer": self.tokenizer}
        for example in examples:
            if "kvpress" in example and not importlib.util.find_spec("kvpress"):
                continue
            with self.subTest(example), contextlib.chdir(self.folder):
                exec(compile(example, "docs/recording.md", "exec"), scope)  # noqa: S102
        with h5py.File(self.folder / "marked.h5") as trace:
            names = [sample.attrs["name"] for sample in trace["samples"].values()]
            self.assertEqual(names, ["needle", "second"])
            context = trace["samples/0000/spans"]
            ids = trace["samples/0000/token_ids"][context["begin"][0] : context["end"][0]]
            self.assertEqual(self.tokenizer.decode(ids), "The grass is green. The code is 7361.")


if __name__ == "__main__":
    unittest.main()
