"""Files that an older program wrote are read as they were meant: tests/golden/formats, one of each kind.

KVREPLAY_PROGRAM=build/kvreplay python3 -m pytest tests/golden/formats_test.py
"""

import json
import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

import h5py
import numpy as np

from tests.support.python.paths import ROOT

PROGRAM = os.environ.get("KVREPLAY_PROGRAM")
FORMATS = ROOT / "tests/golden/formats"
POLICIES = "snapkv:window=8+ada,random,oracle"
TOLERANCE = 1e-5  # machines with other instruction sets round differently


def numbers(path: Path) -> dict[str, np.ndarray]:
    """Every array of numbers in a file, by its path."""
    found = {}

    def visit(name: str, item) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "iuf":
            found[name] = item[()]

    with h5py.File(path) as file:
        file.visititems(visit)
    return found


@unittest.skipUnless(PROGRAM, "KVREPLAY_PROGRAM does not name the program")
class Formats(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def run_program(self, *arguments) -> str:
        done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def check_same(self, found: Path, expected: Path, since: tuple[str, ...] = ()) -> None:
        """What was written then is there, and equal; later programs may write more, `since` names what."""
        found, expected = numbers(found), numbers(expected)
        self.assertGreater(len(expected), 1)
        for name, values in expected.items():
            if name not in since:
                np.testing.assert_allclose(found[name], values, rtol=TOLERANCE, atol=1e-12, err_msg=name)

    def test_a_trace_replays_to_the_results_sets_and_outputs_of_then(self):
        results, sets, outputs = (self.folder / name for name in ("r.h5", "s.h5", "o.h5"))
        self.run_program(
            *("replay", FORMATS / "trace.h5", "-p", POLICIES, "-b", "0.25,0.5,1", "-o", results),
            *("--save-retained", sets, "--save-outputs", outputs),
        )
        self.check_same(results, FORMATS / "results.h5")
        self.check_same(sets, FORMATS / "retained.h5")
        self.check_same(outputs, FORMATS / "outputs.h5")

    def test_a_trace_without_queries_replays_to_the_results_of_then(self):
        results = self.folder / "r.h5"
        words = ("-p", "knorm,keydiff,random", "-b", "0.25,0.5,1", "-m", "default,overlap", "-o", results)
        self.run_program("replay", FORMATS / "cache.h5", *words)
        self.check_same(results, FORMATS / "cache-results.h5")

    def test_results_are_compared(self):
        text = self.run_program("compare", FORMATS / "results.h5", "--metric", "output_error", "--tables")
        with h5py.File(FORMATS / "results.h5") as file:
            sums = [file[f"output_error_{part}"][()] for part in ("numerator", "denominator")]
            policies = [name.decode() for name in file["policy"]]
        first = np.sqrt(sums[0].sum(axis=(0, 1, 2))[policies.index("random"), 0] / sums[1].sum())
        row = next(line for line in text.splitlines() if line.startswith("random "))
        self.assertAlmostEqual(float(row.split()[1].strip("*")), first, delta=1e-3 * first)

    def test_shards_merge_to_the_results_of_then(self):
        shards = sorted(FORMATS.glob("results.shard-*.h5"))
        self.assertEqual(len(shards), 2)
        self.run_program("merge", *shards, "-o", self.folder / "r.h5")
        self.check_same(self.folder / "r.h5", FORMATS / "results.h5")

    def test_a_journal_of_then_is_taken_up(self):
        """Its units are not replayed again: one is missing, and the results are those of a whole replay."""
        journal = self.folder / "journal.h5.units"
        shutil.copytree(FORMATS / "journal.h5.units", journal)
        options = ("-p", POLICIES + ",error-backward", "-b", "0.25,0.5,1")
        done = subprocess.run(
            [PROGRAM, "replay", FORMATS / "trace.h5", *options, "-o", self.folder / "journal.h5"],
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("3 of 4 units are done", done.stderr)
        self.assertFalse(journal.exists())
        self.run_program("replay", FORMATS / "trace.h5", *options, "-o", self.folder / "whole.h5")
        self.check_same(self.folder / "journal.h5", self.folder / "whole.h5", since=("n_sinks", "n_newest"))

    def test_a_learned_table_gives_its_budgets(self):
        table = FORMATS / "learned.h5"
        description = json.loads(self.run_program("inspect", table, "--json"))["files"][0]
        self.assertEqual(description["format"], "kvlkv-1")
        results = self.folder / "r.h5"
        policy = f"knorm+learned:table={table},trained=allow"
        self.run_program("replay", FORMATS / "trace.h5", "-p", policy, "-b", "0.5", "-o", results)
        with h5py.File(results) as file:
            kept = file["kept_fraction_numerator"][()].sum() / file["kept_fraction_denominator"][()].sum()
        self.assertAlmostEqual(kept, 0.5, delta=0.01)

    def test_retained_sets_are_read_for_the_live_model(self):
        from kvreplay.validation.replay_files import Replay

        replay = Replay(FORMATS / "trace.h5", FORMATS / "results.h5", FORMATS / "retained.h5")
        self.addCleanup(replay.close)
        self.assertIn("output_error", replay.surrogates())
        case = replay.cases[0]
        kept = [int(sets.sum()) for sets in replay.retained_sets(case, "random", 1).values()]
        self.assertEqual(kept, [2 * case.position // 2] * 2)  # two layers of two KV heads, one half


if __name__ == "__main__":
    unittest.main()
