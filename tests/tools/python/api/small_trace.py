"""A small synthetic trace, and the command to hold the API against."""

import subprocess
import tempfile
import unittest
from pathlib import Path

from tests.support.python.small_results import PROGRAM, run

POLICIES = ["snapkv:window=32,kernel=5", "h2o", "random"]
BUDGETS = [0.1, 0.5]


@unittest.skipUnless(PROGRAM, "KVREPLAY_PROGRAM does not name the program")
class SmallTrace(unittest.TestCase):
    """`trace`: 2 samples at 2 compression points, 2 layers of 2 KV heads and 8 query heads. `results`, `sets`: what the
    command makes of it."""

    @classmethod
    def setUpClass(cls):
        cls.folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.trace, cls.results, cls.sets = (cls.folder / name for name in ("t.h5", "r.h5", "sets.h5"))
        run("synth", "-o", cls.trace, "--samples", 2, "--prompt", 128, "--decode", 16, "--layers", 2)
        words = [word for policy in POLICIES for word in ("-p", policy)] + ["-b", "0.1,0.5"]
        run("replay", cls.trace, "-o", cls.results, "--save-retained", cls.sets, *words)


def refusal(*words: object) -> str:
    """The one line with which the program refuses, without its name."""
    done = subprocess.run([PROGRAM, *map(str, words)], capture_output=True, text=True)
    assert done.returncode != 0, words
    return done.stderr.strip().splitlines()[-1].removeprefix("kvreplay: ")
