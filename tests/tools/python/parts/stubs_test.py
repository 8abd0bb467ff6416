"""tools/python/kvreplay/_core.pyi names what the extension module has.

After a change of tools/python/binding: python3 -m tests.tools.python.parts.stubs_test --write
"""

import importlib.util
import sys
import unittest

from kvreplay.common.kvreplay_module import load_core
from tests.support.python.paths import ROOT
from tests.tools.python.parts.inside_case import InsideCase

STUBS = ROOT / "tools/python/kvreplay/_core.pyi"


def generated() -> str:
    from nanobind.stubgen import StubGen

    stubs = StubGen(load_core())
    stubs.put(load_core())
    return stubs.get()


@unittest.skipUnless(importlib.util.find_spec("nanobind"), "nanobind is not installed")
class Stubs(InsideCase):
    def test_they_are_those_of_the_module(self):
        self.assertEqual(STUBS.read_text(), generated(), "python3 -m tests.tools.python.parts.stubs_test --write")

    def test_every_array_says_its_type(self):
        view = STUBS.read_text().split("class View:")[1].split("\nclass ")[0]
        for name in ("keys", "values", "attention_sums", "key_leverage"):
            signature = view.split(f"def {name}(")[1].split('"""')[0]
            self.assertIn("numpy.float32", signature)
            self.assertIn("writable=False", signature)


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        STUBS.write_text(generated())
    else:
        unittest.main()
