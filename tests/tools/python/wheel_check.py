"""What a wheel must do where nothing but the wheel, SciPy and perhaps PyTorch is installed: `tools/wheel.sh` runs this there.

CLEAN/bin/python -I tests/tools/python/wheel_check.py
"""

import os
import statistics
import subprocess
import sys
import tempfile
import unittest
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[3] / "traces" / "examples"
TRACE = str(EXAMPLES / "smollm2-probe.h5")
SCRIPTS = Path(sys.executable).parent
COMMANDS = (("record", "record"), ("import", "import"), ("train", "train"), ("validate", "record"))  # and extras
MOST_MILLISECONDS = 30  # of `import kvreplay`

# Other libraries with an HDF5, an OpenBLAS or threads of their own, each at work on the trace that the module reads.
OTHERS = """
import h5py, numpy, scipy.linalg
try:
    import torch
except ModuleNotFoundError:
    torch = None
held = h5py.File({trace!r}, "r")
def others_work():
    tokens = held["samples/0000/token_ids"][:].sum()
    square = numpy.arange(1.0, 40001.0).reshape(200, 200) + 1e4 * numpy.eye(200)
    q, r = scipy.linalg.qr(square)
    assert numpy.allclose(q @ r, square) and numpy.allclose(numpy.linalg.solve(square, square), numpy.eye(200))
    if torch is not None:
        assert torch.allclose(torch.linalg.qr(torch.eye(64))[0].abs(), torch.eye(64))
    return tokens
"""
OURS = """
import kvreplay
def ours_works():
    return kvreplay.replay({trace!r}, "snapkv,capkv", 0.2, inside=True)
"""


def python(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, env={**os.environ, **environment}
    )
    if done.returncode != 0:
        raise AssertionError(f"{code}\nended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def kvreplay(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run([SCRIPTS / "kvreplay", *words], capture_output=True, text=True)


class Wheel(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def test_package_program_and_module_are_of_one_version(self):
        version = distribution("kvreplay").version
        self.assertEqual(python("import kvreplay; print(kvreplay.__version__)").strip(), version)
        core = "import kvreplay.common.kvreplay_module as m; print(m.load_core().version)"
        self.assertEqual(python(core).strip(), version)
        self.assertEqual(kvreplay("--version").stdout.split()[:2], ["kvreplay", version])

    def test_the_program_lies_in_the_package(self):
        code = "import kvreplay.common.kvreplay_program as p, kvreplay; print(p.find_program(), kvreplay.__file__)"
        program, package = python(code).split()
        self.assertEqual(Path(program), Path(package).parent / "bin" / "kvreplay")
        alone = subprocess.run([program, "inspect", "--quick", TRACE], capture_output=True, text=True)
        self.assertEqual((alone.returncode, alone.stderr), (0, ""))

    def test_the_command_replays_and_keeps_its_exit_codes(self):
        output = self.folder / "r.h5"
        done = kvreplay("replay", TRACE, "-p", "snapkv,capkv", "-b", "0.2", "-o", str(output))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(kvreplay("compare", str(output), "--metric", "output_error").returncode, 0)
        self.assertEqual(kvreplay("replay", TRACE, "-p", "nosuch").returncode, 2)
        self.assertEqual(kvreplay("inspect", __file__).returncode, 3)

    def test_python_replays_inside_as_the_program_does(self):
        same = f"ours_works().equals(kvreplay.replay({TRACE!r}, 'snapkv,capkv', 0.2, inside=False))"
        self.assertEqual(python(OURS.format(trace=TRACE) + f"print({same})").strip(), "True")

    def test_commands_in_python_explain_themselves_and_say_what_to_install(self):
        for name, extra in COMMANDS:
            for words in ([name, "--help"], ["help", name]):
                done = kvreplay(*words)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertIn(f"usage: kvreplay-{name}", done.stdout.replace(f"kvreplay {name}", f"kvreplay-{name}"))
                if find_spec("torch") is None:
                    self.assertIn(f"pip install 'kvreplay[{extra}]'", done.stderr)
            self.assertTrue(os.access(SCRIPTS / f"kvreplay-{name}", os.X_OK))
        if find_spec("torch") is None:
            prompts = self.folder / "p.jsonl"
            prompts.write_text('{"name": "a", "text": "b"}\n')
            done = kvreplay(
                "record", "--model", str(self.folder), "--prompts", str(prompts), "-o", str(self.folder / "t.h5")
            )
            self.assertEqual(done.returncode, 2)
            self.assertIn("pip install 'kvreplay[record", done.stderr)

    def test_the_module_lives_beside_other_libraries_whoever_comes_first(self):
        others, ours = OTHERS.format(trace=TRACE), OURS.format(trace=TRACE)
        for first, second in ((others, ours), (ours, others)):
            work = "before = others_work()\nours_works()\nassert others_work() == before\n"
            # Also where names of the others are everybody's: some programs load all modules so.
            for flags in ("", "import os, sys\nsys.setdlopenflags(os.RTLD_NOW | os.RTLD_GLOBAL)\n"):
                python(flags + first + second + work)

    def test_importing_the_package_costs_next_to_nothing(self):
        def milliseconds(code: str) -> float:
            # Of the child alone: other work on the machine does not count.
            before = os.times()
            python(code)
            after = os.times()
            return 1e3 * (after.children_user + after.children_system - before.children_user - before.children_system)

        codes = ("pass", "import kvreplay")
        runs = {code: statistics.median(milliseconds(code) for _ in range(9)) for code in codes}
        wall = python("import time\nb = time.perf_counter()\nimport kvreplay\nprint(1e3 * (time.perf_counter() - b))")
        print(f"import kvreplay: {runs['import kvreplay'] - runs['pass']:.0f} ms of CPU, {float(wall):.1f} ms once")
        self.assertLess(runs["import kvreplay"] - runs["pass"], MOST_MILLISECONDS)

    def test_extras_and_scripts_are_declared(self):
        metadata = distribution("kvreplay").metadata
        self.assertLessEqual(
            {"record", "import", "train", "ray", "plot", "notebook"}, set(metadata.get_all("Provides-Extra"))
        )
        scripts = {script.name for script in distribution("kvreplay").entry_points if script.group == "console_scripts"}
        self.assertLessEqual({"kvreplay", *(f"kvreplay-{name}" for name, _ in COMMANDS)}, scripts)


if __name__ == "__main__":
    unittest.main(verbosity=2)
