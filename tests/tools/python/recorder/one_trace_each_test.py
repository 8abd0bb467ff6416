"""kvreplay record --each: a trace for each prompt, from one load of the model."""

import h5py
import numpy as np

from tests.support.python.recording import TEXT, RecorderTest

A, B = {"name": "a-01", "text": TEXT}, {"name": "b-02", "text": "the cat"}


class OneTraceEach(RecorderTest):
    def folder_of_traces(self):
        folder = self.folder / self.id().rsplit(".", 1)[1]
        folder.mkdir()
        return folder

    def test_each_prompt_has_its_own_trace_the_same_as_alone(self):
        folder = self.folder_of_traces()
        self.record("--each", "--decode", 3, "--sensitivity", 4, "-o", folder, prompts=self.prompts(A, B))
        self.assertEqual(sorted(path.name for path in folder.iterdir()), ["a-01.h5", "b-02.h5"])
        self.record("--decode", 3, "--sensitivity", 4, prompts=self.prompts(B))
        with h5py.File(self.trace()) as alone, h5py.File(folder / "b-02.h5") as each:
            self.assertEqual(list(each["samples"]), ["0000"])
            self.assertEqual(each["samples/0000"].attrs["name"], "b-02")
            objects, others = [], []
            alone.visit(objects.append)
            each.visit(others.append)
            self.assertEqual(others, objects)
            for name in objects:
                if isinstance(alone[name], h5py.Dataset):
                    mine, theirs = (np.asarray(file[name][()]) for file in (each, alone))
                    self.assertEqual(mine.tolist(), theirs.tolist(), name)

    def test_traces_that_are_there_are_kept_unless_force_is_given(self):
        folder = self.folder_of_traces()
        (folder / "a-01.h5").write_text("mine")
        done = self.record("--each", "--decode", 2, "-o", folder, prompts=self.prompts(A, B))
        self.assertIn("1 of 2 traces are there already and are kept", done.err)
        self.assertEqual((folder / "a-01.h5").read_text(), "mine")
        done = self.record("--each", "--decode", 2, "-o", folder, prompts=self.prompts(A, B))
        self.assertIn("2 of 2 traces are there already", done.err)
        self.assertEqual(done.out, "")
        self.record("--each", "--decode", 2, "--force", "-o", folder, prompts=self.prompts(A, B))
        self.assertEqual(h5py.File(folder / "a-01.h5")["samples/0000"].attrs["name"], "a-01")

    def test_a_failure_keeps_the_traces_that_were_finished_before_it(self):
        folder = self.folder_of_traces()
        bad = {"name": "bad", "text": TEXT, "compression_points": {"x": 4000}}
        done = self.attempt("--each", "--decode", 2, "-o", folder, prompts=self.prompts(A, bad))
        self.assertNotEqual(done.code, 0)
        self.assertEqual(list(folder.iterdir()), [])  # prompts are planned before the model runs

    def test_what_cannot_be_a_file_is_refused(self):
        folder = self.folder_of_traces()
        for name in ("a/b", "../a", ".hidden"):
            done = self.attempt("--each", "-o", folder, prompts=self.prompts({"name": name, "text": TEXT}))
            self.assertEqual(done.code, 3, name)
            self.assertIn(f"found '{name}'", done.err)
            self.assertEqual(done.err.count("\n"), 1)
        done = self.attempt("--each", "-o", folder / "none", prompts=self.prompts(A))
        self.assertEqual(done.code, 2)
        self.assertIn("is not a folder, which --each writes into", done.err)
