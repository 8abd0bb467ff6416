"""Programs that need queries, or tokens, refuse a trace of a cache by name."""

import os
import subprocess
import unittest

from tests.support.python.exported_trace import ImporterTest, random_tensors


@unittest.skipUnless(os.environ.get("KVREPLAY_PROGRAM"), "KVREPLAY_PROGRAM does not name the program")
class WithoutQueries(ImporterTest):
    def train(self, *traces) -> str:
        from kvreplay.common.errors import InputError
        from kvreplay.learning.training_set import open_instances

        with self.assertRaises(InputError) as caught:
            open_instances(list(traces))
        return str(caught.exception)

    def test_nothing_is_learned_from_a_cache(self):
        self.imported(self.npz(**random_tensors(queries=False))).close()
        message = self.train(self.trace)
        self.assertIn("trace.h5: sample 'a': no queries are recorded", message)

    def test_nothing_is_learned_from_tokens_that_nobody_knows(self):
        self.imported(self.npz(**random_tensors()), options=("--decode-start", "8")).close()
        self.assertIn("trace.h5: sample 'a': its token ids are not recorded", self.train(self.trace))

    def test_no_model_runs_beside_a_cache(self):
        from kvreplay.common.errors import InputError
        from kvreplay.validation.replay_files import Replay

        self.imported(self.npz(**random_tensors(queries=False))).close()
        results, retained = self.folder / "r.h5", self.folder / "sets.h5"
        words = ["replay", self.trace, "-p", "knorm", "-b", "0.5", "-o", results, "--save-retained", retained]
        subprocess.run([os.environ["KVREPLAY_PROGRAM"], *words], check=True, capture_output=True)
        with self.assertRaisesRegex(InputError, "'a@prompt': no queries are recorded"):
            Replay(self.trace, results, retained)
