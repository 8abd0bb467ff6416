"""The extension module where the package was installed without it: found in build trees, and refused in one line."""

import os
import sys
import tempfile
import unittest
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

from kvreplay.common import blas_core, kvreplay_module, kvreplay_program
from kvreplay.common.errors import UsageError
from kvreplay.common.kvreplay_module import NAME, load_core

PROGRAM = os.environ.get("KVREPLAY_PROGRAM")
INSTALLED = NAME not in sys.modules and find_spec(NAME) is not None


class LoadCore(unittest.TestCase):
    @unittest.skipIf(INSTALLED, "the module is part of the installation")
    def test_without_one_it_says_what_to_install(self):
        self.enterContext(mock.patch.dict(sys.modules))
        sys.modules.pop(NAME, None)
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.enterContext(mock.patch.dict(os.environ, {"PATH": str(folder)}))
        os.environ.pop("KVREPLAY_PROGRAM", None)
        for module in (kvreplay_module, kvreplay_program):
            self.enterContext(mock.patch.object(module, "CHECKOUT", folder))
        with self.assertRaisesRegex(UsageError, "pip install kvreplay.*-DKVREPLAY_PYTHON_MODULE=ON"):
            load_core()

    @unittest.skipIf(INSTALLED, "the module is part of the installation")
    @unittest.skipUnless(
        PROGRAM and list(Path(PROGRAM).parent.glob("python/_core*.so")), "the build tree has no extension module"
    )
    def test_the_one_of_the_build_tree_is_loaded_once_and_of_our_version(self):
        core = load_core()
        self.assertEqual(Path(core.__file__).parents[1], Path(PROGRAM).resolve().parent)
        self.assertIs(load_core(), core)
        version = (kvreplay_program.CHECKOUT / "CMakeLists.txt").read_text()
        self.assertIn(f"project(kvreplay VERSION {core.version} ", version)
        # What reads files for it stands where it is looked for.
        self.assertTrue(os.access(Path(core.__file__).parent / "bin" / "kvreplay-reader", os.X_OK))


class ChosenBlasCore(unittest.TestCase):
    def setUp(self):
        self.enterContext(mock.patch.dict(os.environ))
        for name in (blas_core.CORE, blas_core.THREADS):
            os.environ.pop(name, None)

    def seen(self, core: str | None) -> list[str | None]:
        """The variables inside."""
        with mock.patch.object(blas_core, "_better_core", lambda: core), blas_core.chosen_blas_core():
            return [os.environ.get(blas_core.CORE), os.environ.get(blas_core.THREADS)]

    def test_the_variables_are_set_inside_alone(self):
        self.assertEqual(self.seen("SkylakeX"), ["SkylakeX", "1"])
        self.assertNotIn(blas_core.CORE, os.environ)
        self.assertNotIn(blas_core.THREADS, os.environ)

    def test_threads_that_somebody_asked_for_stay(self):
        os.environ[blas_core.THREADS] = "3"
        self.assertEqual(self.seen("Haswell"), ["Haswell", "3"])
        self.assertEqual(os.environ[blas_core.THREADS], "3")

    def test_a_processor_that_the_library_knows_and_a_choice_of_the_user_are_left_alone(self):
        self.assertEqual(self.seen(None), [None, None])
        os.environ[blas_core.CORE] = "Nehalem"
        self.assertEqual(self.seen("SkylakeX"), ["Nehalem", None])
        self.assertEqual(os.environ[blas_core.CORE], "Nehalem")


if __name__ == "__main__":
    unittest.main()
