"""Policies written in Python keep what their twins in the program keep.

KVREPLAY_PROGRAM=build/kvreplay python3 -m pytest tests/tools/python/parts/twins_test.py
"""

import unittest

import numpy as np

import kvreplay as kr
from tests.support.python.small_results import TRACE
from tests.tools.python.parts.inside_case import InsideCase
from tests.tools.python.parts.twins import TWINS

BUDGETS = [0.05, 0.2, 0.5, 1.0]


class Twins(InsideCase):
    def test_each_keeps_what_its_twin_keeps(self):
        sets = self.folder / "sets.h5"
        policies = list(dict.fromkeys([*TWINS, *TWINS.values()]))
        kr.replay(TRACE, policies, BUDGETS, metrics="kept_fraction", retained=sets, compression_points="prompt")
        kept = kr.retained(sets)
        for own, twin in TWINS.items():
            with self.subTest(own):
                mine, theirs = (kept.array(policy=policy, point="prompt").values for policy in (own, twin))
                self.assertEqual(mine.shape, theirs.shape)
                np.testing.assert_allclose(mine.sum(), theirs.sum(), atol=8)  # rounding of approximate allocators
                swapped = np.logical_xor(mine, theirs).sum() / 2
                self.assertLessEqual(swapped, 1e-3 * theirs.sum(), f"{own} against {twin}")
                self.assertGreater(np.logical_not(theirs).sum(), 0)


if __name__ == "__main__":
    unittest.main()
