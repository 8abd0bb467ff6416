"""tools/make_training_traces.sh: from a model and this machine's texts to traces that a policy is learned from."""

import os
import subprocess
import sys
import unittest

import h5py

from tests.support.python.paths import ROOT
from tests.support.python.recording import RecorderTest
from tests.support.python.tiny_models import save_tiny_model

SCRIPT = ROOT / "tools" / "make_training_traces.sh"
NAMES = [f"train-{i:02d}" for i in range(16)] + [f"held-{i:02d}" for i in range(4)]


class TrainingTracesTest(RecorderTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls._models["llama"] = save_tiny_model(cls.folder / "model", "llama", max_position_embeddings=4096)

    def run_script(self, *arguments) -> subprocess.CompletedProcess:
        environment = {**os.environ, "KVREPLAY_PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
        command = ["bash", SCRIPT, *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)

    def test_it_records_what_is_missing_with_sensitivities_and_leaves_what_is_there(self):
        traces = self.folder / "traces"
        traces.mkdir()
        recorded = ("train-03", "train-06", "held-00")  # a needle, plain text, one to test on
        for name in NAMES:
            if name not in recorded:
                (traces / f"{name}.h5").write_text("there already")
        done = self.run_script(self.model(), traces, "--layers", "1,2")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(sorted(path.stem for path in traces.glob("*.h5")), sorted(NAMES))
        for name in NAMES:
            with self.subTest(name):
                if name not in recorded:
                    self.assertEqual((traces / f"{name}.h5").read_text(), "there already")
                    continue
                with h5py.File(traces / f"{name}.h5") as trace:
                    self.assertEqual(trace.attrs["layers"].tolist(), [1, 2])
                    sample = trace["samples/0000"]
                    self.assertEqual(sample.attrs["n_tokens"] - sample.attrs["decode_start"], 64)
                    points = ["context", "prompt"] if name == "held-00" else ["prompt"]
                    self.assertEqual(sorted(sample["compression_points/name"].asstr()[()]), points)
                    for point in points:
                        self.assertEqual(sample[f"sensitivity/{point}/layers/01/gradient"].shape[0], 8)
        for command in ("kvreplay train", "kvreplay fit-budgets"):
            self.assertIn(command, done.stdout)

    def test_a_failed_recording_ends_it_with_one_line_and_no_half_a_trace(self):
        traces = self.folder / "refused"
        done = self.run_script(self.model(), traces, "--layers", "7")
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertIn("7", done.stderr)
        self.assertEqual(list(traces.glob("*.h5*")), [])

    def test_it_says_how_it_is_called(self):
        done = self.run_script(self.model())
        self.assertEqual(done.returncode, 2)
        self.assertIn("usage: bash tools/make_training_traces.sh MODEL FOLDER", done.stderr)


if __name__ == "__main__":
    unittest.main()
