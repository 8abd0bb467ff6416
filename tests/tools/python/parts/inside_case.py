"""Tests of what works inside of Python's process alone."""

import tempfile
import unittest
from pathlib import Path

import kvreplay as kr
from kvreplay.common.kvreplay_module import load_core
from tests.support.python.small_results import PROGRAM


@unittest.skipUnless(PROGRAM, "KVREPLAY_PROGRAM does not name the program")
class InsideCase(unittest.TestCase):
    """Skipped where the program was built without the extension module. `folder`: a new one."""

    @classmethod
    def setUpClass(cls):
        cls.folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        try:
            load_core()
        except kr.UsageError as error:
            raise unittest.SkipTest(str(error)) from error
