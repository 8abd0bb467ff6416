"""The policies keep what kvpress keeps, head for head.

    KVREPLAY_PROGRAM=build/kvreplay python3 -m pytest tests/golden/golden_test.py

Needs h5py and numpy. README.md in this folder tells where the golden data comes from.
"""

import sys
import tempfile
import unittest
from pathlib import Path

from tests.golden.golden_file import read_goldens
from tests.golden.program_sets import FOLDER, PROGRAM, float16_trace, program_sets
from tests.golden.set_difference import differences

# Scores closer than this are one tie class: both sides compute in float32, in different orders.
TIE_TOLERANCE = 1e-6
# Tokens that may swap inside tie classes at the cut, by trace and press: where kvpress gives many tokens one score, the
# order of its topk decides, and ours is another. All other presses agree without exception.
# SnapKV and its kin: the window, where it is larger than the budget (at ratio 0.9 only). LagKV: what it protects, and equal ranks in
# different partitions. Knorm, CUR and leverage: layer 0 gives a word the same value, and key before RoPE, everywhere.
TIED_TOKENS = {
    "random": {
        "ada-snapkv": 78,
        "chunkkv": 160,
        "critical-adakv": 81,
        "critical-snapkv": 65,
        "cur": 1,
        "cur-key": 5,
        "cur-value": 3,
        "knorm": 44,
        "lagkv": 525,
        "lagkv-cross": 66,
        "lagkv-small": 109,
        "leverage": 23,
        "pyramidkv": 118,
        "snapkv": 118,
    },
    "smollm2": {
        "ada-snapkv": 144,
        "chunkkv": 42,
        "critical-adakv": 134,
        "critical-snapkv": 102,
        "cur-key": 1,  # with AVX2; none with AVX-512
        "knorm": 12,
        "lagkv": 1062,
        "lagkv-cross": 63,
        "lagkv-small": 103,
        "non-causal": 1,
        "pyramidkv": 276,
        "snapkv": 276,
    },
}
# Rounding a trace to float16 moves scores by up to this, so that neighbours at the cut may swap ...
FLOAT16_GAP = 5e-3
# ... which may befall this share of the tokens that a press keeps.
FLOAT16_SHARE = 0.002


@unittest.skipIf(PROGRAM is None, "KVREPLAY_PROGRAM is not set")
class GoldenTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="kvreplay-test-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def compare(self, trace: Path, name: str, check):
        """Runs the program once on a trace; calls check(press, golden, differences) for each press of a model."""
        goldens = read_goldens(FOLDER / f"{name}-kvpress.h5")
        found = program_sets(trace, [golden.policy for golden in goldens.values()], self.folder)
        for press, golden in goldens.items():
            with self.subTest(trace=trace.name, press=press, policy=golden.policy):
                check(press, golden, differences(golden, found[golden.policy]))

    def check_float32(self, name: str):
        def check(press, golden, found):
            n_sets = sum(sets.shape[0] * sets.shape[1] for sets in golden.retained.values())
            tied = sum(difference.n_tokens for difference in found)
            report(f"{name}: {press}: {n_sets} sets, {tied} tied tokens differ, in {len(found)} places")
            far = [difference for difference in found if difference.gap > TIE_TOLERANCE]
            self.assertEqual(far, [])
            self.assertLessEqual(tied, TIED_TOKENS[name].get(press, 0))

        self.compare(FOLDER / f"{name}.h5", name, check)

    def test_random_model(self):
        self.check_float32("random")

    def test_smollm2(self):
        self.check_float32("smollm2")

    def test_smollm2_in_float16(self):
        def check(press, golden, found):
            swapped = sum(difference.n_tokens for difference in found if difference.gap > TIE_TOLERANCE)
            kept = sum(int(sets.sum()) for sets in golden.retained.values())
            gap = max((difference.gap for difference in found), default=0)
            report(f"smollm2 in float16: {press}: {swapped} of {kept} tokens swap, largest gap {gap:.2g}")
            if golden.scores:  # else the press keeps to itself what it decided by
                far = [difference for difference in found if difference.gap > FLOAT16_GAP]
                self.assertEqual(far, [])
            self.assertLessEqual(swapped, FLOAT16_SHARE * kept)

        trace = float16_trace(FOLDER / "smollm2.h5", self.folder / "smollm2-float16.h5")
        self.compare(trace, "smollm2", check)


def report(line: str) -> None:
    print(line, file=sys.stderr)


if __name__ == "__main__":
    unittest.main()
