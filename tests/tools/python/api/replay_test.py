"""A replay from Python is the replay of the command.

KVREPLAY_PROGRAM=build/kvreplay python3 -m pytest tests/tools/python/api/replay_test.py
"""

import dataclasses
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
import unittest
import unittest.mock

import h5py
import numpy as np
import xarray

import kvreplay as kr
from kvreplay.api.replay_words import replay_words
from tests.support.python.small_results import TRACE, run
from tests.tools.python.api.small_trace import BUDGETS, POLICIES, SmallTrace

PARTS = ["trace", "sample", "point"]
INTERRUPTED = """\
import signal, sys
import kvreplay as kr
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a job in the background ignores
trace, output = sys.argv[1:]
try:
    kr.replay(trace, output=output, threads=1, progress=False)
except KeyboardInterrupt:
    sys.exit(99)
"""


class Replay(SmallTrace):
    def test_it_is_the_command_bit_for_bit(self):
        found = kr.replay(self.trace, POLICIES, BUDGETS)
        with xarray.open_dataset(self.results, engine="h5netcdf") as expected:
            self.assertTrue(found.drop_vars(PARTS).identical(expected))  # attributes included
        self.assertTrue(found.identical(kr.open_results(self.results)))

    def test_the_shipped_trace_replays_as_the_command_does(self):
        file = self.folder / "shipped.h5"
        options = ["-p", "snapkv,streaming-llm", "-b", "0.1:1:3", "--layer", "2,20", "-m", "default"]
        run("replay", TRACE, *options, "-o", file)
        layers, metrics = np.array([2, 20]), ["default"]
        found = kr.replay(TRACE, "snapkv,streaming-llm", "0.1:1:3", layers=layers, metrics=metrics)
        self.assertTrue(found.identical(kr.open_results(file)))

    def test_output_and_retained_sets_are_the_files_of_the_command(self):
        output, sets = self.folder / "kept.h5", self.folder / "kept-sets.h5"
        kr.replay(self.trace, POLICIES, BUDGETS, output=output, retained=sets)
        self.assertEqual(output.read_bytes(), self.results.read_bytes())
        self.assertEqual(sets.read_bytes(), self.sets.read_bytes())

    def test_everything_is_in_memory_and_nothing_is_left_behind(self):
        with unittest.mock.patch("tempfile.tempdir", str(self.folder / "tmp")):
            (self.folder / "tmp").mkdir()
            found = kr.replay(self.trace, "h2o", 0.5)
            self.assertEqual(list((self.folder / "tmp").iterdir()), [])
        self.assertTrue(np.isfinite(found["output_error"].values).all())
        self.assertNotIn("source", found.encoding)

    def test_all_options_reach_the_program(self):
        found = kr.replay(
            [self.trace],
            iter(["h2o:recent_share=0.25"]),
            np.array([16.0, 64.0]),
            compression_points=["prompt", 64],
            layers=1,
            samples="synthetic-0001",
            metrics=["output_error", "kept_fraction"],
            seed=7,
            threads=1,
            memory="2GiB",
            evict_sliding=True,
            strict=True,
            backend="cpu",
        )
        self.assertEqual(found.case.values.tolist(), ["synthetic-0001@prompt", "synthetic-0001@64"])
        self.assertEqual((found.layer.values.tolist(), found.budget.values.tolist()), ([1], [16, 64]))
        self.assertEqual((found.attrs["seed"], found.attrs["budget_kind"]), (7, "tokens"))
        self.assertIn('"evict_sliding":true', found.attrs["options"])

    def test_the_words_are_those_of_the_command(self):
        nothing = dict.fromkeys(
            ("compression_ratios", "compression_points", "layers", "samples", "metrics", "threads", "memory", "backend")
        )
        nothing |= {
            "seed": 1,
            "evict_sliding": False,
            "strict": False,
            "force": False,
            "retained": None,
            "report": None,
        }
        words = replay_words("-t.h5", None, [1, np.float64(1e-5)], scores={"mine": "-s.h5"}, output="-o.h5", **nothing)
        expected = [
            "replay",
            "--output=./-o.h5",
            "--budget=1,1e-05",
            "--scores=mine=./-s.h5",
            "--seed=1",
            "--",
            "./-t.h5",
        ]
        self.assertEqual(words, expected)

    def test_score_files_take_part_by_name(self):
        file = self.folder / "a=b" / "measured.h5"
        file.parent.mkdir()
        rng = np.random.default_rng(1)
        with h5py.File(file, "w") as scores:
            for sample in ("0000", "0001"):
                for layer in ("00", "01"):
                    scores[f"samples/{sample}/layers/{layer}/scores"] = rng.random((2, 128)).astype(np.float32)
        found = kr.replay(self.trace, ["mine", "random"], 0.5, scores={"mine": file}, metrics="output_error")
        self.assertEqual(found.policy.values.tolist(), ["mine", "random"])
        unnamed = kr.replay(self.trace, "measured", 0.5, scores=[file], metrics="output_error")
        self.assertTrue((unnamed["output_error"].isel(policy=0) == found["output_error"].isel(policy=0)).all())

    def test_the_page_of_the_replay_is_that_of_the_command(self):
        pages = [self.folder / name for name in ("api.html", "command.html")]
        (self.folder / "paged").mkdir()
        kr.replay(self.trace, "h2o", 0.5, report=pages[0])
        run(
            "replay",
            self.trace,
            "-p",
            "h2o",
            "-b",
            0.5,
            "--report",
            pages[1],
            "-o",
            self.folder / "paged" / "results.h5",
        )
        self.assertEqual(pages[0].read_bytes(), pages[1].read_bytes())

    def test_odd_paths_are_paths(self):
        odd = self.folder / " a b = ü,'\"*.h5"
        shutil.copy(self.trace, odd)
        shutil.copy(self.trace, self.folder / "-t.h5")
        expected = kr.open_results(self.results)
        for trace in (str(odd), odd, os.fsencode(odd)):
            found = kr.replay(trace, POLICIES, BUDGETS, metrics="output_error")
            self.assertEqual(set(found.trace.values.tolist()), {odd.name})
            self.assertTrue((found["output_error"] == expected["output_error"]).all())
        here = os.getcwd()
        self.addCleanup(os.chdir, here)
        os.chdir(self.folder)
        kr.replay("-t.h5", POLICIES, BUDGETS, metrics="output_error", output="-o.h5")
        self.assertTrue((kr.open_results("-o.h5")["output_error"] == expected["output_error"]).all())

    def test_budgets_of_results_and_single_numbers_are_budgets(self):
        ds = kr.open_results(self.results)
        for budgets, expected in ((ds.budget, BUDGETS), (np.array(0.5), [0.5]), (np.float32(0.5), [0.5]), ({1}, [1])):
            plan = kr.plan(self.trace, {"h2o"}, budgets)
            self.assertEqual((plan.policies, plan.budgets), (["h2o"], expected))

    def test_cases_have_parts_to_select_by(self):
        ds = kr.open_results(self.results)
        self.assertEqual(ds.point.values.tolist(), ["context", "prompt"] * 2)
        prompt = ds.isel(case=ds.point == "prompt")
        self.assertEqual(prompt.case.values.tolist(), ["synthetic-0000@prompt", "synthetic-0001@prompt"])
        self.assertTrue(ds.set_xindex("point").sel(point="prompt")["output_error"].equals(prompt["output_error"]))
        self.assertEqual(set(ds["sample"].values.tolist()), {"synthetic-0000", "synthetic-0001"})
        difference = ds["output_error"].isel(case=[0, 1, 3]) - ds["output_error"].isel(case=[1, 2])
        self.assertEqual(difference.sizes["case"], 1)  # cases are still aligned

    def test_what_is_left_out_goes_to_the_log(self):
        with self.assertLogs("kvreplay", logging.INFO) as log:
            kr.replay(self.trace, budgets=0.5)
        self.assertTrue(any("leaving out policy kvzip" in line for line in log.output), log.output)

    def test_an_interrupted_replay_goes_on_and_gives_the_same(self):
        trace, output, whole = (self.folder / name for name in ("long.h5", "long-r.h5", "whole.h5"))
        run("synth", "-o", trace, "--prompt", 1024, "--samples", 2, "--layers", 2)
        child = subprocess.Popen([sys.executable, "-c", INTERRUPTED, trace, output], stderr=subprocess.DEVNULL)
        pieces = lambda: [path for path in self.folder.glob("long-r.h5.*") if path.stat().st_size]  # noqa: E731
        while child.poll() is None and not pieces():
            time.sleep(0.01)
        child.send_signal(signal.SIGINT)  # to Python alone, which has to pass it on
        self.assertEqual(child.wait(60), 99)
        self.assertFalse(output.exists())
        self.assertTrue(pieces())
        resumed = kr.replay(trace, output=output)
        run("replay", trace, "-o", whole)
        self.assertTrue(resumed.identical(kr.open_results(whole)))

    def test_progress_is_shown_where_it_is_wanted(self):
        code = "import sys, kvreplay as kr; kr.replay(sys.argv[1], 'h2o', 0.5, progress=eval(sys.argv[2]))"
        for wish in ("None", "False"):
            done = subprocess.run([sys.executable, "-c", code, self.trace, wish], capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))


class Plan(SmallTrace):
    def test_units_add_up_to_what_the_text_says(self):
        plan = kr.plan(self.trace, POLICIES, BUDGETS)
        text = run("replay", self.trace, *(f"--policy={each}" for each in POLICIES), "-b0.1,0.5", "-ox.h5", "--dry-run")
        said = dict(line.split(None, 1) for line in text.splitlines() if line.startswith("  ") and line[2] != " ")
        self.assertEqual(int(said["units"].split()[0]), len(plan.units))
        amount, unit = said["work"].split()[:2]
        flops = float(amount) * {"MFLOP": 1e6, "GFLOP": 1e9, "GFLOP:": 1e9, "MFLOP:": 1e6}[unit]
        np.testing.assert_allclose(plan.units["flops"].sum(), flops, rtol=0.006)  # three digits are printed
        self.assertIn(f"at most about {plan.memory['peak'] / 2**20:.0f} MiB", said["memory"])
        self.assertEqual(plan.units.columns.tolist(), ["unit", "case", "layer", "trace", "flops", "bytes"])
        self.assertEqual(set(plan.units["trace"]), {str(self.trace)})

    def test_it_says_what_the_replay_then_does(self):
        plan, ds = kr.plan(self.trace, budgets=BUDGETS), kr.replay(self.trace, budgets=BUDGETS)
        self.assertEqual(plan.policies, ds.policy.values.tolist())
        self.assertEqual(plan.budgets, ds.budget.values.tolist())
        self.assertEqual(set(plan.metrics), {name for name, each in ds.data_vars.items() if "formula" in each.attrs})
        self.assertEqual(plan.units["case"].drop_duplicates().tolist(), ds.case.values.tolist())
        left_out = names_left_out(ds)
        self.assertEqual([each.get("policy") or each.get("metric") for each in plan.left_out], left_out)
        self.assertIn("8 units (4 cases, 2 layers)", repr(plan))
        self.assertIn("left out  kvzip: it needs probe queries", repr(plan))

    def test_a_machine_whose_memory_is_unknown_has_a_plan_without_a_limit(self):
        plan = kr.plan(self.trace, budgets=BUDGETS)
        unknown = dataclasses.replace(plan, memory={**plan.memory, "limit": None})
        self.assertRegex(repr(plan), r"at most about \d+ MiB of \d+ MiB")
        self.assertRegex(repr(unknown), r"at most about \d+ MiB\n")

    def test_nothing_is_written(self):
        before = sorted(self.folder.iterdir())
        kr.plan(self.trace, output=self.folder / "planned.h5", retained=self.folder / "planned-sets.h5")
        self.assertEqual(sorted(self.folder.iterdir()), before)


def names_left_out(ds: xarray.Dataset) -> list[str]:
    return [each.get("policy") or each.get("metric") for each in json.loads(ds.attrs["left_out"])]
