"""Traces and results pass between kvreplay and Python's HDF5 (h5py, xarray), which is another version of the library.

    KVREPLAY_PROGRAM=build/kvreplay python3 -m pytest tests/traces/trace/interop_test.py

Needs h5py and numpy; the dataset tests need xarray and h5netcdf too and are skipped without them.
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
BAD_INPUT = 3


def bfloat16_type():
    """HDF5 type of bfloat16, for which h5py has no name."""
    bfloat16 = h5py.h5t.IEEE_F32LE.copy()
    bfloat16.set_fields(15, 7, 8, 0, 7)
    bfloat16.set_size(2)
    bfloat16.set_ebias(127)
    return bfloat16


def write_bfloat16(group, name, values):
    """Stores float32 `values`, which bfloat16 must hold exactly."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    assert not (bits & 0xFFFF).any()
    halves = (bits >> 16).astype(np.uint16)
    space = h5py.h5s.create_simple(halves.shape)
    kind = bfloat16_type()
    dataset = h5py.h5d.create(group.id, name.encode(), kind, space)
    dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, halves, mtype=kind)


def tensor(shape, seed):
    """Numbers that float16 and bfloat16 hold exactly."""
    return np.random.default_rng(seed).integers(-128, 128, shape).astype(np.float32) / 16


class Recorder:
    """Writes a small valid trace; its attributes are what a test may change."""

    n_tokens, decode_start = 300, 290
    n_q_heads, n_kv_heads, head_dim, value_dim = 4, 2, 8, 6
    layers = [0, 2]
    dtype = "float16"
    storage = {}
    libver = ("earliest", "v110")
    fixed_strings = False

    def text(self, value):
        return np.bytes_(value.encode()) if self.fixed_strings else value

    def texts(self, group, name, values):
        kind = f"S{max(map(len, values))}" if self.fixed_strings else h5py.string_dtype()
        group.create_dataset(name, data=np.array(values, dtype=kind))

    def tensor(self, group, name, shape, seed):
        values = tensor(shape, seed)
        if self.dtype == "bfloat16":
            write_bfloat16(group, name, values)
        else:
            group.create_dataset(name, data=values.astype(self.dtype), **self.storage)

    def write(self, path):
        with h5py.File(path, "w", libver=self.libver) as file:
            self.write_root(file)
            for layer in self.layers:
                group = file.create_group(f"model/layers/{layer:02}")
                group.attrs["sliding_window"] = np.int32(0)
                self.tensor(group, "output_projection", (self.n_q_heads * self.value_dim, 20), 1)
            self.write_sample(file.create_group("samples/0000"))

    def write_root(self, file):
        attributes = {
            "format": self.text("kvreplay-trace"),
            "format_version": self.text("1.0"),
            "creator": self.text("h5py"),
            "created": self.text("2026-01-01T00:00:00Z"),
            "model_id": self.text("test"),
            "model_config": self.text("{}"),
            "n_layers": 3,
            "layers": np.array(self.layers, np.uint8),
            "n_q_heads": np.int16(self.n_q_heads),
            "n_kv_heads": self.n_kv_heads,
            "head_dim": np.uint64(self.head_dim),
            "value_dim": self.value_dim,
            "hidden_size": np.array([20]),
            "softmax_scale": np.float32(0.5),
            "logit_softcap": 0,
            "rope_layout": self.text("half"),
            "rope_attention_scaling": 1.0,
        }
        file.attrs.update(attributes)
        file["rope_inv_freq"] = 10000.0 ** -(np.arange(4) / 4)

    def write_sample(self, sample):
        n = self.n_tokens
        sample.attrs.update(
            {
                "name": self.text("first"),
                "n_tokens": n,
                "decode_start": self.decode_start,
                "token_source": self.text("greedy"),
            }
        )
        sample["token_ids"] = np.arange(n, dtype=np.int32)
        self.texts(sample, "token_texts", [f"token {i}" for i in range(n)])
        sample["query_ranges"] = np.array([[0, 5], [200, n]])
        spans = sample.create_group("spans")
        self.texts(spans, "name", ["context", "question"])
        spans["begin"], spans["end"] = np.array([0, 270]), np.array([270, 290])
        points = sample.create_group("compression_points")
        self.texts(points, "name", ["context", "prompt"])
        points["position"] = np.array([270, 290])
        for layer in self.layers:
            group = sample.create_group(f"layers/{layer:02}")
            self.tensor(group, "queries", (self.n_q_heads, 5 + n - 200, self.head_dim), layer)
            self.tensor(group, "keys", (self.n_kv_heads, n, self.head_dim), layer + 10)
            self.tensor(group, "values", (self.n_kv_heads, n, self.value_dim), layer + 20)
            group["block_cosine"] = np.linspace(0, 1, n, dtype=np.float32)
        probe = sample.create_group("probes/context")
        probe["chunks"] = np.array([[3, 200, 0, 210], [200, 270, 210, 300]])
        for layer in self.layers:
            group = probe.create_group(f"layers/{layer:02}")
            self.tensor(group, "queries", (self.n_q_heads, 300, self.head_dim), layer + 30)
            self.tensor(group, "keys", (self.n_kv_heads, 300, self.head_dim), layer + 40)


@unittest.skipUnless(PROGRAM, "KVREPLAY_PROGRAM does not name the program")
class ProgramTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def run_program(self, *arguments):
        return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=300)

    def assert_runs(self, *arguments):
        result = self.run_program(*arguments)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stdout

    def assert_refused(self, path, *parts):
        """`inspect` ends with exit code 3 and one line on stderr that contains the parts."""
        result = self.run_program("inspect", path)
        self.assertEqual(result.returncode, BAD_INPUT, result.stdout + result.stderr)
        self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)
        for part in (str(path), *parts):
            self.assertIn(part, result.stderr)


class TracesFromPython(ProgramTest):
    def recorded(self, **changes):
        recorder = Recorder()
        for name, value in changes.items():
            setattr(recorder, name, value)
        path = self.folder / "trace.h5"
        recorder.write(path)
        return path

    def test_contiguous_float16_is_read(self):
        description = self.assert_runs("inspect", self.recorded())
        self.assertIn("context: repeats [3, 270) in 2 chunks, 300 queries and keys", description)

    def test_float32_is_read(self):
        self.assert_runs("inspect", self.recorded(dtype="float32"))

    def test_custom_bfloat16_is_read(self):
        self.assert_runs("inspect", self.recorded(dtype="bfloat16"))

    def test_gzip_with_shuffle_and_checksum_is_read(self):
        self.assert_runs(
            "inspect",
            self.recorded(storage={"compression": "gzip", "shuffle": True, "fletcher32": True, "chunks": True}),
        )

    def test_resizable_datasets_are_read(self):
        self.assert_runs("inspect", self.recorded(storage={"chunks": True, "maxshape": None}))

    def test_fixed_length_strings_are_read(self):
        self.assert_runs("inspect", self.recorded(fixed_strings=True))

    def test_default_file_version_is_read(self):
        self.assert_runs("inspect", self.recorded(libver=None))

    def test_lzf_is_refused_by_name(self):
        self.assert_refused(
            self.recorded(storage={"compression": "lzf"}), "lzf", "expected no filter, gzip", "output_projection"
        )

    def test_scale_offset_is_refused_by_name(self):
        self.assert_refused(self.recorded(dtype="float32", storage={"scaleoffset": 3}), "scaleoffset")

    def test_float64_is_refused(self):
        self.assert_refused(self.recorded(dtype="float64"), "expected little-endian float16, bfloat16 or float32")

    def test_big_endian_is_refused(self):
        self.assert_refused(self.recorded(dtype=">f2"), "found big-endian float16")

    def test_a_file_for_newer_libraries_is_refused_with_the_remedy(self):
        self.assert_refused(self.recorded(libver="latest", storage={"compression": "gzip"}), "libver up to v110")

    def test_a_bool_for_a_number_is_refused(self):
        path = self.recorded()
        with h5py.File(path, "r+") as file:
            file.attrs["n_kv_heads"] = True
        self.assert_refused(path, "attribute n_kv_heads of /", "expected integer")

    def test_a_truncated_file_is_refused(self):
        path = self.recorded()
        path.write_bytes(path.read_bytes()[:-1000])
        self.assert_refused(path, "truncated file")

    def test_a_file_that_is_open_for_writing_elsewhere_is_read(self):
        path = self.recorded()
        with h5py.File(path, "r+") as file:
            file.flush()
            self.assert_runs("inspect", path)


class TracesToPython(ProgramTest):
    def synthesized(self, *options):
        path = self.folder / "synthetic.h5"
        self.assert_runs("synth", "--output", path, "--prompt", 300, "--decode", 10, *options)
        return path

    def test_a_synthetic_trace_obeys_the_schema(self):
        with h5py.File(self.synthesized("--samples", 2), "r") as file:
            self.assertEqual(len(file["samples"]), 2)
            attributes = file.attrs
            self.assertEqual(attributes["format"], "kvreplay-trace")
            self.assertEqual(attributes["format_version"], "1.3")
            self.assertIsInstance(attributes["model_config"], str)
            heads, kv_heads = attributes["n_q_heads"], attributes["n_kv_heads"]
            self.assertEqual(heads % kv_heads, 0)
            for number, sample in enumerate(file["samples"].values()):
                self.assertEqual(sample.name, f"/samples/{number:04}")
                n = sample.attrs["n_tokens"]
                self.assertEqual(sample["token_ids"].shape, (n,))
                self.assertEqual(sample["token_ids"].dtype, np.dtype("int32"))
                n_recorded = int((sample["query_ranges"][:, 1] - sample["query_ranges"][:, 0]).sum())
                for name, position in zip(
                    sample["compression_points/name"].asstr()[:], sample["compression_points/position"][:]
                ):
                    self.assertIsInstance(name, str)
                    self.assertTrue(0 < position < n)
                self.assertEqual(sorted(sample["layers"]), [f"{layer:02}" for layer in attributes["layers"]])
                for group in sample["layers"].values():
                    self.assertEqual(group["queries"].shape, (heads, n_recorded, attributes["head_dim"]))
                    self.assertEqual(group["keys"].shape, (kv_heads, n, attributes["head_dim"]))
                    self.assertEqual(group["values"].shape, (kv_heads, n, attributes["value_dim"]))
                    self.assertEqual(group["keys"].dtype, np.dtype("<f2"))
                    self.assertTrue(np.isfinite(group["keys"][:].astype(np.float32)).all())

    def test_bfloat16_has_the_type_and_the_bits_that_the_schema_says(self):
        with h5py.File(self.synthesized("--dtype", "bfloat16"), "r") as file:
            keys = file["samples/0000/layers/00/keys"]
            self.assertTrue(keys.id.get_type().equal(bfloat16_type()))
            bits = np.empty(keys.shape, np.uint16)
            keys.id.read(h5py.h5s.ALL, h5py.h5s.ALL, bits, mtype=bfloat16_type())
        with h5py.File(self.synthesized("--dtype", "float32", "--force"), "r") as file:
            exact = file["samples/0000/layers/00/keys"][:]
        values = (bits.astype(np.uint32) << 16).view(np.float32)
        np.testing.assert_allclose(values, exact, rtol=2**-8, atol=0)


@unittest.skipUnless(xarray, "xarray and h5netcdf are not installed")
class ResultsToPython(ProgramTest):
    def test_results_open_in_xarray_and_select_by_label(self):
        trace, results = self.folder / "trace.h5", self.folder / "results.h5"
        Recorder().write(trace)
        self.assert_runs(
            "replay", trace, "--policy", "knorm", "--policy", "snapkv", "--budget", "0.25,0.5", "--output", results
        )
        with xarray.open_dataset(results, engine="h5netcdf") as dataset:
            self.assertEqual(dataset.attrs["format"], "kvreplay-results")
            error = dataset["output_error"]
            self.assertEqual(error.dims[:2], ("case", "layer"))
            self.assertEqual(error.dims[-2:], ("policy", "budget"))
            self.assertEqual(list(dataset["layer"].values), [0, 2])
            self.assertIn("long_name", error.attrs)
            policy = dataset["policy"].values[0]
            self.assertIsInstance(str(policy), str)
            selected = error.sel(policy=policy, budget=0.25)
            self.assertEqual(selected.dims, error.dims[:-2])
            self.assertTrue(np.isfinite(selected.values).all())


if __name__ == "__main__":
    unittest.main()
