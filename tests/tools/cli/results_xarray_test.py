"""What xarray and h5py make of the files that a replay writes.

    KVREPLAY_PROGRAM=build/kvreplay python3 -m pytest tests/tools/cli/results_xarray_test.py

Needs xarray, h5netcdf, h5py and numpy.
"""

import os
import pathlib
import subprocess
import tempfile
import unittest

import h5py
import numpy as np

try:
    import h5netcdf  # noqa: F401
    import xarray
except ImportError:
    xarray = None

PROGRAM = os.environ.get("KVREPLAY_PROGRAM")
SAMPLE = "synthetic-0000"
CONTEXT, PROMPT, N_TOKENS = 224, 256, 272
FORMULAS = {
    "ratio": lambda above, below: above / below,
    "sqrt_ratio": lambda above, below: np.sqrt(above / below),
    "sum": lambda above, below: above,
}


@unittest.skipIf(PROGRAM is None, "KVREPLAY_PROGRAM is not set")
@unittest.skipIf(xarray is None, "xarray or h5netcdf is not installed")
class ReplayFilesTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="kvreplay-test-")
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        cls.trace, cls.sets, cls.outputs = (str(cls.folder / name) for name in ("t.h5", "sets.h5", "outputs.h5"))
        shape = (
            "--prompt 256 --question 32 --decode 16 --layers 2 --q-heads 4 --kv-heads 2 --head-dim 16 --value-dim 16"
        )
        cls.run_program("synth", "-o", cls.trace, "--needles", "1", *shape.split())
        path = str(cls.folder / "r.h5")
        cls.run_program(
            "replay",
            cls.trace,
            "-o",
            path,
            "--budget",
            "0.05,0.1,0.5,1",
            "--save-retained",
            cls.sets,
            "--save-outputs",
            cls.outputs,
        )
        cls.results = xarray.open_dataset(path, engine="h5netcdf")
        cls.addClassCleanup(cls.results.close)

    @staticmethod
    def run_program(*args):
        return subprocess.run([PROGRAM, *args], check=True, capture_output=True, text=True)

    def metrics(self):
        return [name for name, variable in self.results.data_vars.items() if "formula" in variable.attrs]

    def test_metrics_have_named_dimensions(self):
        dims = {name: self.results[name].dims for name in self.metrics()}
        self.assertEqual(dims["output_error"], ("case", "layer", "q_head", "policy", "budget"))
        self.assertEqual(dims["kept_fraction"], ("case", "layer", "kv_head", "policy", "budget"))
        self.assertEqual(dims["projected_error"], ("case", "layer", "policy", "budget"))
        self.assertEqual(dims["needle_recall"], ("case", "layer", "kv_head", "policy", "budget", "span"))

    def test_values_are_selected_by_label(self):
        error = self.results["output_error"]
        point = error.sel(case=f"{SAMPLE}@prompt", layer=1, q_head=2, policy="snapkv", budget=0.1)
        policy = list(self.results["policy"].values).index("snapkv")
        self.assertEqual(float(point), float(error.values[1, 1, 2, policy, 1]))
        near = error.sel(policy="snapkv").sel(budget=0.11, method="nearest")
        self.assertEqual(float(near["budget"]), 0.1)
        self.assertTrue((error.sel(policy="full") == 0).all())
        needle = self.results["needle_recall"].sel(span="needle")
        self.assertTrue((needle.sel(policy="full") == 1).all())
        self.assertEqual(list(self.results["span"].values), ["context", "needle", "question"])

    def test_second_names_are_coordinates(self):
        self.assertEqual(str(self.results["case_point"].sel(case=f"{SAMPLE}@context").values), "context")
        parameters = str(self.results["policy_parameters"].sel(policy="snapkv").values)
        self.assertIn("window=64", parameters)
        self.assertIn("case_sample", self.results.coords)

    def test_attributes_describe_file_and_metrics(self):
        self.assertEqual(self.results.attrs["format"], "kvreplay-results")
        self.assertEqual(self.results.attrs["budget_kind"], "fraction")
        self.assertEqual(self.results.attrs["seed"], 1)
        for name in self.metrics():
            attributes = self.results[name].attrs
            self.assertIn(attributes["better"], ("lower", "higher"), name)
            self.assertTrue(attributes["long_name"], name)
            self.assertTrue(attributes["units"], name)
        self.assertEqual(self.results["budget"].attrs["units"], "1")

    def test_every_value_follows_from_its_sums(self):
        # Broadcasting by name: a reader needs to know nothing about a metric but its attributes.
        self.assertGreater(len(self.metrics()), 5)
        for name in self.metrics():
            value = self.results[name]
            above, below = (self.results[value.attrs[role]] for role in ("numerator", "denominator"))
            with np.errstate(invalid="ignore"):
                expected = FORMULAS[value.attrs["formula"]](above, below).transpose(*value.dims)
            np.testing.assert_allclose(value.values, expected.values, rtol=1e-12, err_msg=name)

    def test_what_xarray_saves_again_compares_as_before(self):
        again = str(self.folder / "again.h5")
        self.results.to_netcdf(again, engine="h5netcdf")
        before = self.run_program("compare", str(self.folder / "r.h5"), "--csv", "-").stdout
        self.assertEqual(self.run_program("compare", again, "--csv", "-").stdout, before)
        self.assertIn("results, format", self.run_program("inspect", again).stdout)

    def test_a_part_that_xarray_saves_compares_too(self):
        part = str(self.folder / "part.h5")
        chosen = self.results.sel(policy=["snapkv", "random"], layer=[1])
        chosen[["output_error", "output_error_numerator", "output_error_denominator", "n_queries", "policy_is_oracle"]] \
            .to_netcdf(part, engine="h5netcdf")  # fmt: skip
        text = self.run_program("compare", part, "--tables", "--metric", "output_error").stdout
        whole = self.run_program(
            *("compare", str(self.folder / "r.h5"), "--tables"),
            *("-m", "output_error", "-p", "snapkv,random", "--layer", "1"),
        ).stdout
        row = [line for line in whole.splitlines() if line.startswith("snapkv")][0]
        self.assertEqual(
            row.split()[:5], [line for line in text.splitlines() if line.startswith("snapkv")][0].split()[:5]
        )

    def test_what_is_missing_is_named(self):
        poor = str(self.folder / "poor.h5")
        self.results.drop_vars("output_error_denominator").to_netcdf(poor, engine="h5netcdf")
        done = subprocess.run([PROGRAM, "compare", poor], capture_output=True, text=True)
        self.assertEqual(done.returncode, 3)
        self.assertIn("the denominator 'output_error_denominator' of 'output_error' is missing", done.stderr)

    def test_scores_may_be_float64(self):
        # numpy's default: the same scores as float32 retain the same tokens.
        retained = {}
        for dtype in ("float32", "float64"):
            scores, sets = str(self.folder / f"{dtype}.h5"), str(self.folder / f"{dtype}-sets.h5")
            with h5py.File(scores, "w") as file:
                for layer in (0, 1):
                    values = np.random.default_rng(layer).random((2, N_TOKENS)).astype("float32")
                    file[f"samples/0000/layers/{layer:02}/scores"] = values.astype(dtype)
            out = str(self.folder / "scored.h5")
            options = ["-p", "mine", "-b", "0.25", "-m", "kept_fraction", "--force"]
            self.run_program(
                "replay", self.trace, "--scores", f"mine={scores}", "-o", out, *options, "--save-retained", sets
            )
            with h5py.File(sets) as file:
                retained[dtype] = file["samples/0000/prompt/layers/01/retained/mine"][()]
        np.testing.assert_array_equal(retained["float32"], retained["float64"])
        with h5py.File(scores, "r+") as file:
            file["samples/0000/layers/01/scores"][1, 7] = 1e300
        done = subprocess.run(
            [PROGRAM, "replay", self.trace, "--scores", f"mine={scores}", "-o", out, *options],
            capture_output=True,
            text=True,
        )
        self.assertEqual(done.returncode, 3)
        self.assertIn("expected numbers that float32 holds, found 1e+300 at head 1, token 7", done.stderr)

    def test_retained_sets_are_what_was_measured(self):
        with h5py.File(self.sets) as file:
            self.assertEqual(file.attrs["format"], "kvreplay-retained")
            for point, n in (("context", CONTEXT), ("prompt", PROMPT)):
                for layer in (0, 1):
                    group = file[f"samples/0000/{point}/layers/{layer:02}/retained"]
                    self.assertEqual(set(group), set(self.results["policy"].values))
                    for policy, retained in group.items():
                        self.assertEqual(retained.shape, (4, 2, n))
                        self.assertEqual(retained.dtype, np.uint8)
                        self.assertEqual(retained.attrs["head_axis"], "kv")
                        self.assertEqual(int(retained.attrs["first_position"]), 0)
                        kept = self.results["kept_fraction"].sel(case=f"{SAMPLE}@{point}", layer=layer, policy=policy)
                        np.testing.assert_allclose(
                            retained[:].mean(axis=2), kept.transpose("budget", "kv_head"), rtol=1e-12, err_msg=policy
                        )

    def test_outputs_are_the_attention_of_the_recorded_tensors(self):
        with h5py.File(self.outputs) as file, h5py.File(self.trace) as trace:
            outputs = file["samples/0000/prompt/layers/01/outputs"][:]
            positions = file["samples/0000/prompt/positions"][:]
            np.testing.assert_array_equal(positions, np.arange(PROMPT, N_TOKENS))
            tensors = trace["samples/0000/layers/01"]
            queries, keys, values = (tensors[name][:].astype(np.float64) for name in ("queries", "keys", "values"))
            scale = trace.attrs["softmax_scale"]
        for head in range(4):
            for row, position in enumerate(positions):
                seen = slice(0, position + 1)
                logits = keys[head // 2, seen] @ queries[head, position] * scale
                weights = np.exp(logits - logits.max())
                expected = weights @ values[head // 2, seen] / weights.sum()
                found = outputs[head, row]
                self.assertLess(np.linalg.norm(found - expected), 1e-5 * np.linalg.norm(expected))


if __name__ == "__main__":
    unittest.main()
