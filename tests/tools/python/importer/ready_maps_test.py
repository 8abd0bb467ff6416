"""The maps of the package, on small files in the layouts of the programs that they are named after."""

import importlib.util
import unittest

import numpy as np
import torch
from safetensors.torch import save_file

from kvreplay.importer.import_map import read_map, ready_maps
from tests.support.python.exported_trace import ImporterTest, random_tensors
from tests.support.python.paths import ROOT
from tests.support.python.tiny_gguf import save_tiny_gguf

STATES = ROOT / "tests" / "tools" / "python" / "importer" / "states"


class ReadyMaps(ImporterTest):
    def assert_holds(self, trace, tensors: dict[str, np.ndarray], sample: int = 0) -> None:
        for layer in range(2):
            for name, letter in (("queries", "q"), ("keys", "k"), ("values", "v")):
                where = f"samples/{sample:04d}/layers/{layer:02d}/{name}"
                if f"{letter}{layer}" in tensors:
                    np.testing.assert_array_equal(trace[where][()], tensors[f"{letter}{layer}"], where)
                else:
                    self.assertNotIn(where, trace)

    def test_every_map_is_one_and_says_what_it_is_about(self):
        self.assertGreaterEqual(len(ready_maps()), 7)
        for name, about in ready_maps().items():
            self.assertTrue(about)
            self.assertEqual(read_map(name).where, name)

    def test_transformerlens(self):
        """As HookedTransformer 2.16.1 names and shapes them: [batch, pos, head, d_head], 2 KV heads for 4."""
        tensors = random_tensors()
        hooks = {"q": "hook_rot_q", "k": "hook_rot_k", "v": "hook_v"}
        cache = {"hook_embed": torch.zeros(1, 12, 32)}
        for name, array in tensors.items():
            cache[f"blocks.{name[1]}.attn.{hooks[name[0]]}"] = torch.from_numpy(array.transpose(1, 0, 2)[None].copy())
            cache[f"blocks.{name[1]}.attn.hook_k"] = torch.zeros(1, 12, 2, 8)  # before RoPE: not what is asked for
        torch.save(cache, self.folder / "cache.pt")
        self.assert_holds(self.imported(self.folder / "cache.pt", map="transformerlens"), tensors)

    def test_transformerlens_without_rope(self):
        tensors = random_tensors()
        cache = {
            f"blocks.{name[1]}.attn.hook_{name[0]}": torch.from_numpy(array.transpose(1, 0, 2)[None].copy())
            for name, array in tensors.items()
        }
        torch.save(cache, self.folder / "cache.pt")
        outcome = self.attempt(self.folder / "cache.pt", map="transformerlens-no-rope")
        self.assert_refused(outcome, 3, "the model has RoPE", "transformerlens-no-rope")
        self.file("config.json", '{"model_type": "gpt2", "n_layer": 2, "n_head": 4, "n_embd": 32, "num_kv_heads": 2}')
        trace = self.imported(self.folder / "cache.pt", map="transformerlens-no-rope")
        self.assert_holds(trace, tensors)
        self.assertEqual(trace.attrs["rope_layout"], "none")

    def test_past_key_values(self):
        tensors = random_tensors(queries=False)
        layers = [tuple(torch.from_numpy(tensors[f"{letter}{i}"][None]) for letter in "kv") for i in range(2)]
        for held in (layers, tuple(layers)):
            torch.save(held, self.folder / "past.pt")
            trace = self.imported(self.folder / "past.pt", map="past-key-values")
            self.assert_holds(trace, tensors)
            self.assertEqual(trace["samples/0000/query_ranges"].shape, (0, 2))
            self.assertEqual(trace["samples/0000/compression_points/position"][()].tolist(), [12])

    def test_vllm(self):
        """A folder per prompt, named by a hash; [n, head, 2 * head_dim] today, [2, n, head * head_dim] before."""
        prompts = {"5f2a": random_tensors(queries=False), "77c0": random_tensors(16, queries=False, seed=2)}
        for map_name in ("vllm", "vllm-shared-storage"):
            files = []
            for hashed, tensors in prompts.items():
                folder = self.folder / map_name / hashed
                folder.mkdir(parents=True)
                for i in range(2):
                    both = np.stack([tensors[f"k{i}"], tensors[f"v{i}"]]).transpose(0, 2, 1, 3)  # [2, n, head, dim]
                    old, new = both.reshape(2, both.shape[1], -1), np.concatenate([both[0], both[1]], axis=-1)
                    kv = new if map_name == "vllm" else old
                    files.append(folder / f"model.layers.{i}.self_attn.attn.safetensors")
                    save_file({"kv_cache": torch.from_numpy(kv.copy())}, files[-1])
            with self.subTest(map_name):
                trace = self.imported(*files, map=map_name)
                for number, (hashed, tensors) in enumerate(prompts.items()):
                    self.assertEqual(trace[f"samples/{number:04d}"].attrs["name"], hashed)
                    self.assert_holds(trace, tensors, number)
                wrong = "vllm" if map_name != "vllm" else "vllm-shared-storage"
                self.trace.unlink()
                self.assert_refused(self.attempt(*files, map=wrong), 3, "kv_cache", "expected")

    def test_llama_cpp_states_hold_what_transformers_computes(self):
        """States of tiny_gguf.py's model over ten tokens, saved by llama.cpp itself with an F16 cache: rows or columns
        of values. Llama's dimensions lie in pairs there."""
        if not importlib.util.find_spec("accelerate"):
            self.skipTest("transformers loads GGUF weights only with accelerate")
        from transformers import AutoModelForCausalLM

        save_tiny_gguf(self.folder / "tiny.gguf")
        model = AutoModelForCausalLM.from_pretrained(self.folder, gguf_file="tiny.gguf", dtype=torch.float32)
        tokens = [(7 * i + 3) % 250 for i in range(10)]
        with torch.no_grad():
            cache = model(torch.tensor([tokens]), use_cache=True).past_key_values
        self.file("config.json", self.config.read_text().replace('"num_hidden_layers": 2', '"num_hidden_layers": 3'))
        for name in ("version-2", "version-3-transposed", "version-4", "version-4-transposed"):
            with self.subTest(name):
                trace = self.imported(STATES / f"{name}.bin", map="llama-cpp")
                self.assertEqual(trace["samples/0000/token_ids"][()].tolist(), tokens)
                self.assertEqual(trace.attrs["rope_layout"], "interleaved")
                for i, layer in enumerate(cache.layers):
                    group = trace[f"samples/0000/layers/{i:02d}"]
                    keys = group["keys"][()].reshape(2, 10, 4, 2).swapaxes(2, 3).reshape(2, 10, 8)
                    for found, expected in (
                        (keys, layer.keys[0].numpy()),
                        (group["values"][()], layer.values[0].numpy()),
                    ):
                        error = np.abs(found - expected).max() / np.abs(expected).max()
                        self.assertLess(error, 0.005)  # halves, and sums of halves


if __name__ == "__main__":
    unittest.main()
