"""A recorded trace that went out to other formats comes back as it was, bit for bit."""

import json
import os
import subprocess
import unittest

import h5py
import numpy as np
import torch
from safetensors.torch import save_file

from kvreplay.common.trace_writer import bfloat16_type
from tests.support.python.exported_trace import CONFIG, NEEDLE, ImporterTest, random_tensors, tensors_of

POINTS = ("--decode-start", "1240", "--compression-point", "context=1202")


class RoundTrip(ImporterTest):
    def export(self, kind: str, tensors: dict[str, np.ndarray]):
        path = self.folder / f"needle.{kind}"
        if kind == "npz":
            np.savez(path, **tensors)
        else:
            save = save_file if kind == "safetensors" else torch.save
            save({name: torch.from_numpy(array) for name, array in tensors.items()}, path)
        return path

    def test_tensors_come_back_bit_for_bit_from_every_format(self):
        tensors = tensors_of(NEEDLE)
        with h5py.File(NEEDLE) as recorded:
            self.file("config.json", recorded.attrs["model_config"])
            for kind in ("safetensors", "npz", "pt"):
                with self.subTest(kind):
                    imported = self.imported(self.export(kind, tensors), map="plain", options=POINTS)
                    for layer in recorded["samples/0000/layers"]:
                        for name in ("queries", "keys", "values"):
                            where = f"samples/0000/layers/{layer}/{name}"
                            self.assertEqual(recorded[where].dtype, imported[where].dtype)
                            np.testing.assert_array_equal(recorded[where][()], imported[where][()])
                    for name in ("token_ids", "query_ranges", "compression_points/position"):
                        np.testing.assert_array_equal(
                            recorded[f"samples/0000/{name}"][()], imported[f"samples/0000/{name}"][()]
                        )
                    for name in (
                        "softmax_scale",
                        "logit_softcap",
                        "rope_layout",
                        "n_layers",
                        "n_kv_heads",
                        "hidden_size",
                    ):
                        self.assertEqual(recorded.attrs[name], imported.attrs[name])
                    np.testing.assert_allclose(recorded["rope_inv_freq"][()], imported["rope_inv_freq"][()], rtol=1e-6)
                    self.assertEqual(imported.attrs["format_version"], "1.3")

    @unittest.skipUnless(os.environ.get("KVREPLAY_PROGRAM"), "KVREPLAY_PROGRAM does not name the program")
    def test_replays_of_it_are_those_of_the_recording(self):
        with h5py.File(NEEDLE) as recorded:
            self.file("config.json", recorded.attrs["model_config"])
        self.imported(self.export("safetensors", tensors_of(NEEDLE)), map="plain", options=POINTS).close()
        results = []
        for trace in (NEEDLE, self.trace):
            path = self.folder / f"{trace.stem}-results.h5"
            words = ["replay", str(trace), "-p", "snapkv,knorm,streaming-llm,oracle", "-b", "0.1,0.5", "-o", str(path)]
            words += ["--metric", "output_error,attention_recall,overlap,bytes", "--layer", "2"]
            subprocess.run([os.environ["KVREPLAY_PROGRAM"], *words], check=True, capture_output=True)
            results.append(h5py.File(path))
            self.addCleanup(results[-1].close)
        for name in ("output_error", "attention_recall", "overlap", "bytes"):
            np.testing.assert_array_equal(results[0][name][()], results[1][name][()])

    def test_bfloat16_keeps_its_bits(self):
        tensors = {name: torch.from_numpy(array).bfloat16() for name, array in random_tensors().items()}
        for name, save in (("a.safetensors", save_file), ("a.pt", torch.save)):
            with self.subTest(name):
                save(tensors, self.folder / name)
                keys = self.imported(self.folder / name)["samples/0000/layers/01/keys"]
                bits = np.empty(keys.shape, np.uint16)
                keys.id.read(h5py.h5s.ALL, h5py.h5s.ALL, bits, mtype=bfloat16_type())
                np.testing.assert_array_equal(bits, tensors["k1"].view(torch.uint16).numpy())

    def test_values_are_rounded_as_torch_rounds_them(self):
        tensors = random_tensors()
        path = self.npz(**tensors)
        with self.subTest("float16"):
            keys = self.imported(path, options=("--dtype", "float16"))["samples/0000/layers/00/keys"][()]
            np.testing.assert_array_equal(keys, torch.from_numpy(tensors["k0"]).half().numpy())
        with self.subTest("bfloat16"):
            keys = self.imported(path, options=("--dtype", "bfloat16"))["samples/0000/layers/00/keys"]
            bits = np.empty(keys.shape, np.uint16)
            keys.id.read(h5py.h5s.ALL, h5py.h5s.ALL, bits, mtype=bfloat16_type())
            np.testing.assert_array_equal(bits, torch.from_numpy(tensors["k0"]).bfloat16().view(torch.uint16).numpy())
        with self.subTest("from float64"):
            path = self.npz(**{name: array.astype(np.float64) for name, array in tensors.items()})
            keys = self.imported(path, options=("--dtype", "float32"))["samples/0000/layers/00/keys"][()]
            np.testing.assert_array_equal(keys, tensors["k0"])

    def test_gzip_changes_no_value(self):
        tensors = random_tensors()
        keys = self.imported(self.npz(**tensors), options=("--gzip",))["samples/0000/layers/00/keys"]
        self.assertEqual(keys.compression, "gzip")
        np.testing.assert_array_equal(keys[()], tensors["k0"])

    def test_output_projections_come_from_the_files_of_the_model(self):
        self.file(
            "map.toml",
            """
            axes = ["head", "token", "head_dim"]
            file = "{sample}.npz"
            keys = "k{layer}"
            values = "v{layer}"
            queries = "q{layer}"
            output_projection = { tensor = "model.layers.{layer}.self_attn.o_proj.weight", file = "model*.safetensors" }
            """,
        )
        weights = {f"model.layers.{i}.self_attn.o_proj.weight": torch.randn(32, 32) for i in range(2)}
        save_file({**weights, "lm_head.weight": torch.randn(5, 32)}, self.folder / "model-1.safetensors")
        trace = self.imported(self.npz(**random_tensors()), self.folder / "model-1.safetensors")
        for i in range(2):
            np.testing.assert_array_equal(
                trace[f"model/layers/{i:02d}/output_projection"][()],
                weights[f"model.layers.{i}.self_attn.o_proj.weight"].numpy().T,
            )

    def test_queries_may_stand_at_some_positions(self):
        tensors = random_tensors()
        for layer in range(2):
            tensors[f"q{layer}"] = tensors[f"q{layer}"][:, :5]
        for words, ranges in (('"last"', [[7, 12]]), ('"where"', [[0, 2], [5, 6], [10, 12]])):
            with self.subTest(words):
                self.file("map.toml", self.map.read_text().split("query_positions")[0] + f"query_positions = {words}\n")
                trace = self.imported(self.npz(**tensors, where=np.array([0, 1, 5, 10, 11])))
                self.assertEqual(trace["samples/0000/query_ranges"][()].tolist(), ranges)

    def test_marks_of_the_map_and_of_the_options_reach_the_trace(self):
        self.file("map.toml", self.map.read_text() + "[sample]\ndecode_start = -3\nspans = { needle = [2, 4] }\n")
        sample = self.imported(self.npz(**random_tensors()), options=("--compression-point", "context=5"))[
            "samples/0000"
        ]
        self.assertEqual(sample.attrs["decode_start"], 9)
        self.assertEqual(sample["compression_points/name"][()].tolist(), [b"context", b"prompt"])
        self.assertEqual(sample["compression_points/position"][()].tolist(), [5, 9])
        self.assertEqual(sample["spans/begin"][()].tolist(), [2])
        self.assertEqual(sample["token_ids"][()].tolist(), [-1] * 12)

    def test_the_function_does_what_the_command_does(self):
        import kvreplay

        path = self.npz(**random_tensors(queries=False))
        written = kvreplay.import_trace(self.map, path, self.trace, config=self.config, model_id="mine")
        with h5py.File(written) as trace:
            self.assertEqual(trace.attrs["model_id"], "mine")
            self.assertEqual(trace.attrs["format_version"], "1.4")
            self.assertEqual(json.loads(trace.attrs["model_config"]), CONFIG)
        with self.assertRaisesRegex(kvreplay.UsageError, "exists"):
            kvreplay.import_trace(self.map, path, self.trace, config=self.config)


if __name__ == "__main__":
    unittest.main()
