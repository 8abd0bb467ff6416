"""What the program refuses, and how it ends, reaches Python as an error of its own class.

KVREPLAY_PROGRAM=build/kvreplay python3 -m pytest tests/tools/python/api/errors_test.py
"""

import os
import subprocess
import sys
import unittest
from pathlib import Path
from unittest import mock

import kvreplay as kr
from kvreplay.common.errors import BY_EXIT_CODE
from kvreplay.common.kvreplay_program import run_kvreplay
from tests.support.python.small_results import run
from tests.tools.python.api.small_trace import SmallTrace, refusal

LOADED = "import sys, kvreplay; {}; print(*(name for name in {} if name in sys.modules))"
HEAVY = ["numpy", "xarray", "pandas", "h5py", "torch", "altair", "importlib.metadata", "typing"]


class Errors(SmallTrace):
    def assert_raised(self, kind: type[kr.Error], line: str, call, *arguments, **options) -> None:
        with self.assertRaises(kr.Error) as raised:
            call(*arguments, **options)
        self.assertIs(type(raised.exception), kind)
        self.assertEqual(str(raised.exception), line)

    def test_each_kind_has_the_programs_line(self):
        no_trace, nowhere = self.folder / "none.h5", self.folder / "none" / "r.h5"
        text = self.folder / "text.h5"
        text.write_text("no HDF5")
        new = self.folder / "new.h5"
        for kind, options, arguments in (
            (kr.UsageError, ["-pnope"], {"policies": "nope"}),
            (kr.UsageError, ["-b2.5"], {"budgets": 2.5}),
            (kr.UsageError, ["--layer=7"], {"layers": 7}),
            (kr.InputError, ["-pkvzip"], {"policies": ["kvzip"]}),
        ):
            line = refusal("replay", self.trace, "-o", new, *options)
            self.assert_raised(kind, line, kr.replay, self.trace, output=new, **arguments)
            self.assert_raised(kind, line, kr.plan, self.trace, output=new, **arguments)
        for trace in (no_trace, text, self.folder, self.results):
            self.assert_raised(kr.InputError, refusal("replay", trace, "-o", new), kr.replay, trace, output=new)
        self.assert_raised(
            kr.MachineError, refusal("replay", self.trace, "-o", nowhere), kr.replay, self.trace, output=nowhere
        )
        self.assert_raised(
            kr.UsageError, refusal("replay", self.trace, "-o", self.results), kr.replay, self.trace, output=self.results
        )

    def test_no_gpu_is_an_error_of_the_device(self):
        with mock.patch.dict(os.environ, {"CUDA_VISIBLE_DEVICES": ""}):
            line = refusal("replay", self.trace, "-o", self.folder / "gpu.h5", "--backend", "cuda")
            self.assert_raised(kr.DeviceError, line, kr.replay, self.trace, backend="cuda")

    def test_missing_shards_are_incomplete(self):
        run("replay", self.trace, "-o", self.folder / "s.h5", "-p", "h2o", "--shard", "1/2")
        words = ["merge", str(self.folder / "s.shard-1-of-2.h5"), "-o", str(self.folder / "s.h5")]
        self.assert_raised(kr.IncompleteError, refusal(*words), run_kvreplay, words)

    def test_classes_are_also_those_of_python(self):
        kinds = {kr.UsageError: ValueError, kr.InputError: ValueError, kr.MachineError: OSError}
        for kind, base in (kinds | {kr.DeviceError: RuntimeError, kr.IncompleteError: kr.Error}).items():
            self.assertTrue(issubclass(kind, base) and issubclass(kind, kr.Error))
        self.assertEqual(
            {code: kind.exit_code for code, kind in BY_EXIT_CODE.items()}, {code: code for code in range(1, 6)}
        )

    def test_a_program_that_is_killed_is_an_error_of_the_machine(self):
        killed = self.folder / "killed"
        killed.write_text("#!/bin/sh\necho 'kvreplay: nearly done' >&2\nkill -9 $$\n")
        killed.chmod(0o700)
        with mock.patch.dict(os.environ, {"KVREPLAY_PROGRAM": str(killed)}):
            line = f"{killed} metrics ended by SIGKILL: nearly done"
            self.assert_raised(kr.MachineError, line, kr.metrics)

    def test_a_missing_program_is_said(self):
        with mock.patch.dict(os.environ, {"KVREPLAY_PROGRAM": "/nowhere/kvreplay"}):
            for call in (kr.policies, kr.metrics, lambda: kr.replay(self.trace), lambda: kr.compare(self.results)):
                self.assert_raised(kr.UsageError, "KVREPLAY_PROGRAM: /nowhere/kvreplay is no program", call)
        broken = self.folder / "broken"
        broken.write_text("no program at all")
        broken.chmod(0o700)
        with mock.patch.dict(os.environ, {"KVREPLAY_PROGRAM": str(broken)}), self.assertRaises(kr.MachineError):
            kr.policies()

    def test_empty_and_odd_arguments_are_refused(self):
        for options in ({"policies": []}, {"budgets": ()}, {"layers": []}, {"samples": ""}, {"metrics": [None]}):
            with self.assertRaises(kr.UsageError, msg=options):
                kr.replay(self.trace, **options)
        for trace in ([], "", 7, None, "a\0b", [[self.trace]]):
            with self.assertRaises(kr.UsageError, msg=trace):
                kr.replay(trace)
        for options in ({"policies": "a\0b"}, {"budgets": True}, {"memory": "much"}, {"threads": -1}, {"scores": {}}):
            with self.assertRaises(kr.UsageError, msg=options):
                kr.replay(self.trace, **options)

    def test_an_error_of_a_callback_ends_the_program(self):
        def refuse(line: str) -> None:
            raise LookupError(line)

        talking = self.folder / "talking"
        talking.write_text("#!/bin/sh\necho 'replaying: 1 % of 2 units after 30 s' >&2\nexec sleep 600\n")
        talking.chmod(0o700)
        with mock.patch.dict(os.environ, {"KVREPLAY_PROGRAM": str(talking)}), self.assertRaises(LookupError):
            kr.replay(self.trace, progress=refuse)


class Import(unittest.TestCase):
    def loaded_by(self, statement: str) -> list[str]:
        words = [sys.executable, "-S", "-c", LOADED.format(statement, HEAVY)]  # without site, which loads some itself
        environment = os.environ | {"PYTHONPATH": str(Path(kr.__file__).parents[1])}
        return subprocess.run(words, check=True, capture_output=True, text=True, env=environment).stdout.split()

    def test_importing_the_package_loads_nothing_heavy(self):
        self.assertEqual(self.loaded_by("kvreplay.__all__, dir(kvreplay), kvreplay.Error"), [])

    def test_charts_are_not_needed(self):
        code = "import sys; sys.modules['altair'] = None; import kvreplay as kr; [getattr(kr, name) for name in kr.__all__]"
        subprocess.run([sys.executable, "-c", code], check=True)

    def test_every_name_is_there_and_no_other(self):
        for name in kr.__all__:
            self.assertTrue(hasattr(kr, name), name)
            self.assertIn(name, dir(kr))
        self.assertFalse(hasattr(kr, "replays"))
        self.assertRegex(kr.VERSION, r"^\d+\.\d+")
