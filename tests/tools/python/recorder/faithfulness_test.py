"""Attention recomputed from a trace is the attention that the model computed."""

import os
import subprocess
import unittest

import h5py
import numpy as np

from tests.support.python.recording import RecorderTest
from tests.support.python.reference_attention import ModelRun, full_attention, query_positions, relative_error

# float32 sums of 80 terms err by 1e-6 or so; a wrong mask, scale or position shows as 1e-2 and more.
TOLERANCE = 1e-5
KINDS = ("llama", "qwen3", "gemma2", "gemma3", "smollm3")
PROGRAM = os.environ.get("KVREPLAY_PROGRAM")


class Faithfulness(RecorderTest):
    recorded: dict = {}

    def open_recorded(self, kind: str) -> tuple[h5py.File, ModelRun]:
        """The trace of a model, and a run of the model over the same tokens; made once for all tests."""
        if kind not in self.recorded:
            path = self.folder / f"{kind}.h5"
            self.record("--decode", 12, "--output", path, model=self.model(kind))
            trace = h5py.File(path)
            self.addClassCleanup(trace.close)
            run = ModelRun(self.model(kind), trace["samples/0000/token_ids"][()], int(trace.attrs["n_q_heads"]))
            self.recorded[kind] = trace, run
        return self.recorded[kind]

    def test_full_attention_from_the_trace_is_the_models(self):
        for kind in KINDS:
            with self.subTest(kind):
                trace, run = self.open_recorded(kind)
                for layer in range(3):
                    outputs = full_attention(trace, "0000", f"{layer:02d}")
                    self.assertEqual(len(outputs), trace["samples/0000"].attrs["n_tokens"])
                    self.assertLess(relative_error(outputs, run.heads[layer]), TOLERANCE, f"layer {layer}")

    def test_decoded_tokens_are_the_models_greedy_ones(self):
        for kind in KINDS:
            with self.subTest(kind):
                trace, run = self.open_recorded(kind)
                start = trace["samples/0000"].attrs["decode_start"]
                self.assertNotIn("eos_masked_at", trace["samples/0000"].attrs)
                expected = run.logits[start - 1 : -1].argmax(-1).numpy()
                np.testing.assert_array_equal(trace["samples/0000/token_ids"][start:], expected)

    def test_rope_attributes_undo_the_rotation_of_the_keys(self):
        for kind in KINDS:
            with self.subTest(kind):
                trace, run = self.open_recorded(kind)
                self.assertEqual(trace.attrs["rope_layout"], "half")
                for layer in range(3):
                    keys = trace[f"samples/0000/layers/{layer:02d}/keys"][()].astype(np.float64)
                    model_layer = trace[f"model/layers/{layer:02d}"]
                    inv_freq = model_layer.get("rope_inv_freq", trace["rope_inv_freq"])[()]
                    self.assertLess(relative_error(unrotate(keys, inv_freq), run.raw_keys[layer]), TOLERANCE)

    def test_block_cosine_compares_the_stream_around_attention(self):
        for kind in ("llama", "gemma3"):
            with self.subTest(kind):
                trace, run = self.open_recorded(kind)
                for layer in range(3):
                    before, after = run.before[layer].double().numpy(), run.after[layer].double().numpy()
                    norms = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
                    found = trace[f"samples/0000/layers/{layer:02d}/block_cosine"][()]
                    np.testing.assert_allclose(found, (before * after).sum(axis=1) / norms, atol=1e-5)

    def test_output_projection_is_stored_transposed(self):
        trace, run = self.open_recorded("gemma3")
        for layer in range(3):
            np.testing.assert_array_equal(
                trace[f"model/layers/{layer:02d}/output_projection"][()].T, run.projections[layer]
            )

    def test_layers_of_gemma3_keep_their_windows_and_ropes(self):
        trace, _ = self.open_recorded("gemma3")
        layers = [trace[f"model/layers/{layer:02d}"] for layer in range(3)]
        self.assertEqual([int(layer.attrs["sliding_window"]) for layer in layers], [8, 0, 8])
        self.assertEqual(["rope_inv_freq" in layer for layer in layers], [False, True, False])
        self.assertAlmostEqual(trace.attrs["softmax_scale"], 20**-0.5)

    def test_a_layer_without_rope_has_frequencies_of_zero(self):
        trace, _ = self.open_recorded("smollm3")
        self.assertTrue((trace["model/layers/01/rope_inv_freq"][()] == 0).all())
        self.assertTrue((trace["rope_inv_freq"][()] > 0).all())

    def test_interleaved_rope_is_recognised(self):
        self.record("--decode", 2, model=self.model("cohere"))
        with h5py.File(self.trace()) as trace:
            self.assertEqual(trace.attrs["rope_layout"], "interleaved")

    @unittest.skipUnless(PROGRAM, "KVREPLAY_PROGRAM is not set to the path of the kvreplay program")
    def test_the_program_replays_the_models_attention(self):
        for kind in KINDS:
            with self.subTest(kind):
                trace, run = self.open_recorded(kind)
                outputs, results = (self.folder / f"{kind}-{name}.h5" for name in ("outputs", "results"))
                command = [
                    PROGRAM,
                    "replay",
                    trace.filename,
                    "--policy",
                    "full",
                    "--compression-point",
                    "1",
                    "--save-outputs",
                    outputs,
                    "--output",
                    results,
                ]
                replay = subprocess.run(command, capture_output=True, text=True)
                self.assertEqual(replay.returncode, 0, replay.stderr)
                with h5py.File(outputs) as file:
                    positions = file["samples/0000/1/positions"][()]
                    np.testing.assert_array_equal(positions, query_positions(trace, "0000")[1:])
                    for layer in range(3):
                        found = file[f"samples/0000/1/layers/{layer:02d}/outputs"][()]  # [n_q_heads, n, value_dim]
                        expected = run.heads[layer][positions].transpose(1, 0, 2)
                        self.assertLess(relative_error(found, expected), TOLERANCE, f"layer {layer}")


def unrotate(keys: np.ndarray, inv_freq: np.ndarray) -> np.ndarray:
    """Keys before RoPE (layout `half`) from keys after it, [n_kv_heads, n_tokens, head_dim]."""
    angles = np.arange(keys.shape[1])[:, None] * inv_freq
    half = keys.shape[2] // 2
    first, second = keys[..., :half], keys[..., half:]
    return np.concatenate(
        [first * np.cos(angles) + second * np.sin(angles), second * np.cos(angles) - first * np.sin(angles)], axis=-1
    )


if __name__ == "__main__":
    unittest.main()
