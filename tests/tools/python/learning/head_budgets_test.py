"""tools/python/kvreplay/learning/head_budgets.py: the numbers of the allocator `learned`."""

import os
import subprocess
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import h5py
import numpy as np

from kvreplay.common.errors import InputError
from kvreplay.learning.head_budgets import HeadBudgets, split_in_proportion

PROGRAM = os.environ["KVREPLAY_PROGRAM"]


class HeadBudgetsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.temporary.cleanup)
        cls.folder = Path(cls.temporary.name)
        cls.traces = [cls.folder / f"t{i}.h5" for i in range(3)]
        for i, trace in enumerate(cls.traces):
            sizes = ["--layers", 3, "--q-heads", 4, "--kv-heads", 2, "--prompt", 300 + 40 * i, "--question", 20]
            cls.program("synth", "-o", trace, *sizes, "--decode", 16, "--sensitivity", 4, "--seed", i + 1)
        cls.table = cls.folder / "table.h5"
        cls.program("fit-budgets", *cls.traces[:2], "--scorer", "snapkv:window=8", "-o", cls.table)

    @classmethod
    def program(cls, *arguments):
        done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True)
        if done.returncode != 0:
            raise AssertionError(done.stderr)

    def test_tokens_are_those_of_a_replay(self):
        retained = self.folder / "sets.h5"
        for by_count in (False, True):
            policy = f"snapkv:window=8+learned:table={self.table}" + (",by=count" if by_count else "")
            self.program(
                "replay", self.traces[2], "-p", policy, "-b", "0.05,0.1,0.25,0.5", "--save-retained", retained,
                "-o", self.folder / "r.h5", "--force", "--compression-point", "prompt",
            )  # fmt: skip
            budgets = HeadBudgets.read(self.table)
            different = 0
            with h5py.File(retained) as file:
                for layer in range(3):
                    group = file[f"samples/0000/prompt/layers/{layer:02d}/retained"]
                    kept = group[next(iter(group))][:].sum(axis=2)
                    for row, share in zip(kept, (0.05, 0.1, 0.25, 0.5)):
                        expected = budgets.tokens(share, 380, by_count=by_count)[layer]
                        np.testing.assert_array_equal(row, expected, f"layer {layer} at {share}")
                        different += len(set(row)) > 1
            self.assertGreater(different, 3)

    def test_any_total_is_exact(self):
        budgets = HeadBudgets.read(self.table)
        for kept in (0.005, 0.1, 0.333, 0.9, 1):
            for length in (1000, 1001, 5003):
                self.assertEqual(budgets.tokens(kept, length).mean(), np.floor(kept * length + 0.5))

    def test_what_holds_no_budgets_is_refused(self):
        with self.assertRaisesRegex(InputError, "expected kvlkv-1"):
            HeadBudgets.read(self.traces[0])
        with self.assertRaisesRegex(InputError, "none.h5"):
            HeadBudgets.read(self.folder / "none.h5")
        broken = self.folder / "nan.h5"
        with h5py.File(self.table) as whole, h5py.File(broken, "w") as file:
            for name, value in whole.attrs.items():
                file.attrs[name] = value
            whole.copy("budget", file)
            file["budget/curve"][0, 0, 0] = np.nan
        for trusted, words in (("0", "curve: expected finite numbers"), ("1", "curve is not finite")):
            with mock.patch.dict(os.environ, {"KVREPLAY_TRUST_INPUT": trusted}):
                with self.assertRaisesRegex(InputError, f"/budget/{words}"):
                    HeadBudgets.read(broken)
        with self.assertRaisesRegex(InputError, "measured from 0.004"):
            HeadBudgets.read(self.table).tokens(0.001, 2000)

    def test_whole_numbers_in_proportion(self):
        # 20 by 6, 14: none above 10: the rest goes to the first.
        np.testing.assert_array_equal(split_in_proportion(np.array([6.0, 14.0]), 20, 10), [10, 10])
        # 5 by 1, 1, 2: 1.25, 1.25, 2.5: the half is rounded up.
        np.testing.assert_array_equal(split_in_proportion(np.array([1.0, 1, 2]), 5, 10), [1, 1, 3])
        np.testing.assert_array_equal(split_in_proportion(np.zeros(2), 3, 10), [2, 1])


if __name__ == "__main__":
    unittest.main()
