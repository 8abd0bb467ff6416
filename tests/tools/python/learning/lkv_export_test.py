"""tools/python/kvreplay/learning/export.py: the same numbers in .npz and .json."""

import contextlib
import io
import json
import os
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import h5py
import numpy as np

from kvreplay.learning import export
from tests.support.python.paths import ROOT

GOLDEN = ROOT / "tests" / "golden" / "random-lkv.h5"


class ExportTest(unittest.TestCase):
    def setUp(self):
        own = tempfile.TemporaryDirectory()
        self.addCleanup(own.cleanup)
        self.folder = Path(own.name)

    def export(self, source, name, *options, code=0):
        err = io.StringIO()
        with contextlib.redirect_stderr(err):
            found = export.main([str(source), str(self.folder / name), *options])
        self.assertEqual(found, code, err.getvalue())
        self.assertEqual(list(self.folder.glob("*.tmp")), [])
        return err.getvalue()

    def test_an_archive_holds_every_array_and_attribute(self):
        self.export(GOLDEN, "p.npz")
        with np.load(self.folder / "p.npz", allow_pickle=False) as archive, h5py.File(GOLDEN) as file:
            np.testing.assert_array_equal(archive["scorer/w1"], file["scorer/w1"][:])
            self.assertEqual(archive["scorer/trained_on"].tolist(), file["scorer/trained_on"].asstr()[:].tolist())
            attributes = json.loads(str(archive["attributes"]))
        self.assertEqual(attributes[""]["n_layers"], 3)
        self.assertEqual(attributes["scorer"]["features"], "k_unrot,v,lnk,lnv,ln1pi,ln1pr,frac")

    def test_a_json_file_holds_the_budget_table(self):
        table = self.folder / "table.h5"
        with h5py.File(table, "w") as file:
            file.attrs["format"] = "kvlkv-1"
            file["budget/retained"] = np.array([0.25, 0.5], dtype="float32")
            file["budget/fraction"] = np.full((2, 1, 2), 0.25, dtype="float32")
            file["budget"].attrs["metric"] = "abs"
        with mock.patch.dict(os.environ, {"KVREPLAY_TRUST_INPUT": "1"}):  # not a whole table
            self.export(table, "p.json")
        found = json.loads((self.folder / "p.json").read_text())
        self.assertEqual(found["budget"], {"retained": [0.25, 0.5], "fraction": [[[0.25, 0.25]]] * 2})
        self.assertEqual(found["attributes"]["budget"], {"metric": "abs"})

    def test_what_cannot_be_exported_is_refused(self):
        self.assertIn("neither in .npz nor in .json", self.export(GOLDEN, "p.csv", code=2))
        (self.folder / "p.npz").write_text("mine")
        self.assertIn("exists", self.export(GOLDEN, "p.npz", code=2))
        self.assertEqual((self.folder / "p.npz").read_text(), "mine")
        self.export(GOLDEN, "p.npz", "--force")
        self.assertIn("expected kvlkv-1", self.export(ROOT / "tests/golden/random.h5", "q.npz", code=3))
        self.assertIn("missing.h5", self.export(self.folder / "missing.h5", "q.npz", code=3))


if __name__ == "__main__":
    unittest.main()
