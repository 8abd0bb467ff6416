"""Keys from before RoPE are rotated as transformers rotates them, and config.json tells how."""

import importlib
import json
import types

import h5py
import numpy as np
import torch

from kvreplay.common.errors import InputError
from kvreplay.importer.model_config import read_model
from kvreplay.importer.rope_parameters import layer_ropes
from tests.support.python.exported_trace import run_importer
from tests.support.python.recording import RecorderTest

YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 128}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 1e4,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
LINEAR = {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
MAP = """
axes = ["batch", "head", "token", "head_dim"]
rope = "before"
keys = "k{layer}"
values = "v{layer}"
queries = "q{layer}"
"""


class RotaryEmbeddings(RecorderTest):
    def tensors_before_rope(self, model, recorded: h5py.File) -> dict[str, np.ndarray]:
        """What the modeling code hands to apply_rotary_pos_emb, layer by layer; values as they were recorded."""
        ids = torch.from_numpy(recorded["samples/0000/token_ids"][()])[None].long()
        module = importlib.import_module(type(model).__module__)
        original, seen = module.apply_rotary_pos_emb, []

        def watch(q, k, *rest, **more):
            seen.append((q.detach().clone(), k.detach().clone()))
            return original(q, k, *rest, **more)

        module.apply_rotary_pos_emb = watch
        try:
            with torch.no_grad():
                model(ids)
        finally:
            module.apply_rotary_pos_emb = original
        tensors = {}
        for layer, (q, k) in enumerate(seen):
            tensors[f"q{layer}"], tensors[f"k{layer}"] = q.numpy(), k.numpy()
            tensors[f"v{layer}"] = recorded[f"samples/0000/layers/{layer:02d}/values"][()][None]
        return tensors

    def check(self, kind: str, **changes) -> None:
        """Imports what a model had before RoPE; compares with what the recorder saw after it."""
        from transformers import AutoModelForCausalLM

        from tests.support.python.tiny_models import save_tiny_model

        folder = save_tiny_model(self.folder / f"{self.id()}-{kind}", kind, **changes)
        self.record("--decode", "0", model=folder)
        with h5py.File(self.trace()) as recorded:
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
            np.savez(self.folder / "a.npz", **self.tensors_before_rope(model, recorded))
            (self.folder / "map.toml").write_text(MAP)
            output = self.trace().with_suffix(".imported.h5")
            config = folder / "config.json"
            outcome = run_importer(
                self.folder / "map.toml", self.folder / "a.npz", "--config", config, "-o", output, "--force"
            )
            self.assertEqual((outcome.code, outcome.err), (0, ""))
            with h5py.File(output) as imported:
                self.compare(recorded, imported)
        self.trace().unlink()

    def compare(self, recorded: h5py.File, imported: h5py.File) -> None:
        for name in ("rope_layout", "softmax_scale", "logit_softcap", "head_dim", "n_kv_heads"):
            self.assertEqual(recorded.attrs[name], imported.attrs[name], name)
        self.assertAlmostEqual(recorded.attrs["rope_attention_scaling"], imported.attrs["rope_attention_scaling"])
        np.testing.assert_allclose(recorded["rope_inv_freq"][()], imported["rope_inv_freq"][()], rtol=1e-6)
        for layer in recorded["samples/0000/layers"]:
            facts = [file[f"model/layers/{layer}"] for file in (recorded, imported)]
            self.assertEqual(*(each.attrs["sliding_window"] for each in facts))
            self.assertEqual(*("rope_inv_freq" in each for each in facts))
            for name in ("queries", "keys", "values"):
                there, here = (file[f"samples/0000/layers/{layer}/{name}"][()] for file in (recorded, imported))
                np.testing.assert_allclose(here, there, atol=1e-5 * np.abs(there).max(), err_msg=f"{layer} {name}")

    def test_halves_and_pairs_and_layers_that_differ(self):
        for kind in ("llama", "qwen3", "cohere", "gemma2", "gemma3"):
            with self.subTest(kind):
                self.check(kind)

    def test_scaled_frequencies(self):
        for parameters in (LINEAR, LLAMA3, YARN):
            with self.subTest(parameters["rope_type"]):
                self.check("llama", rope_parameters=parameters)

    def test_a_layer_without_rope_keeps_its_keys(self):
        shape = types.SimpleNamespace(rope_theta=None, rope_layout=None, rotary_dim=None)
        config = {"model_type": "smollm3", "rope_theta": 1e4, "no_rope_layers": [1, 0, 1]}
        ropes = layer_ropes(shape, config, 8, [0, 0, 0], "config.json")
        self.assertEqual([bool(rope.inv_freq.any()) for rope in ropes], [True, False, True])

    def refusal(self, **config) -> str:
        path = self.folder / "odd.json"
        base = {"model_type": "llama", "num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 32}
        path.write_text(json.dumps({**base, "rope_theta": 1e4, **config}))
        with self.assertRaises(InputError) as caught:
            read_model(path, {}, "map.toml", rotary=True)
        self.assertIn("odd.json", str(caught.exception))
        return str(caught.exception)

    def test_what_is_not_known_is_refused_by_name(self):
        for config, words in (
            ({"rope_parameters": DYNAMIC}, ("'dynamic'", "default, linear, llama3, yarn")),
            ({"rope_scaling": {"type": "longrope", "factor": 4}}, ("'longrope'",)),
            ({"rope_scaling": {"rope_type": "linear"}}, ("factor", "None")),
            ({"rope_theta": -1}, ("rope_theta", "-1")),
            ({"model_type": "mystery"}, ("'mystery'", "rope_layout")),
            ({"kv_lora_rank": 8}, ("MLA",)),
            ({"model_type": "gpt_oss"}, ("attention sinks",)),
            (
                {"model_type": "qwen2", "sliding_window": 8, "use_sliding_window": True},
                ("layer_types", "sliding_window"),
            ),
            ({"layer_types": ["full_attention", "linear_attention"], "sliding_window": 8}, ("'linear_attention'",)),
            ({"num_hidden_layers": 10**9}, ("n_layers", "1000000000")),
            ({"num_key_value_heads": 3}, ("evenly",)),
            ({"head_dim": "8"}, ("head_dim", "'8'")),
            ({"rope_theta": 1e4, "partial_rotary_factor": 0.01}, ("even number",)),
        ):
            with self.subTest(str(config)):
                message = self.refusal(**config)
                for word in words:
                    self.assertIn(word, message)
