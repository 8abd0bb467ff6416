"""What lies in the file: the schema's objects, dtypes, compression, and several prompts."""

import json

import h5py
import numpy as np

from tests.support.python.recording import TEXT, RecorderTest
from tests.support.python.tiny_models import save_tiny_model


class TraceStorage(RecorderTest):
    def open_trace(self) -> h5py.File:
        trace = h5py.File(self.trace())
        self.addCleanup(trace.close)
        return trace

    def test_a_trace_has_the_objects_of_the_schema(self):
        self.record("--decode", 3, prompts=self.prompts({"name": "a", "text": TEXT}, {"name": "b", "text": "the cat"}))
        trace = self.open_trace()
        expected = {
            "format": "kvreplay-trace",
            "format_version": "1.3",
            "model_id": "llama",
            "n_layers": 3,
            "n_q_heads": 4,
            "n_kv_heads": 2,
            "head_dim": 8,
            "value_dim": 8,
            "hidden_size": 32,
            "softmax_scale": 8**-0.5,
            "logit_softcap": 0.0,
            "rope_layout": "half",
            "rope_attention_scaling": 1.0,
        }
        self.assertEqual({name: trace.attrs[name] for name in expected}, expected)
        self.assertEqual(trace.attrs["layers"].tolist(), [0, 1, 2])
        self.assertEqual(trace.attrs["model_config"], (self.model() / "config.json").read_text())
        self.assertEqual(trace["rope_inv_freq"].dtype, np.float64)
        np.testing.assert_allclose(trace["rope_inv_freq"][()], 10000.0 ** (-np.arange(0, 8, 2) / 8), rtol=1e-6)
        self.assertEqual(list(trace["samples"]), ["0000", "0001"])

        sample = trace["samples/0001"]
        self.assertEqual(dict(sample.attrs), {"name": "b", "n_tokens": 8, "decode_start": 5, "token_source": "greedy"})
        self.assertEqual(sample["token_ids"].dtype, np.int32)
        self.assertEqual(b"".join(sample["token_texts"][:5]).decode(), "<|begin|>the cat")
        self.assertNotIn("spans", sample)
        for layer in ("00", "01", "02"):
            tensors = sample[f"layers/{layer}"]
            self.assertEqual(
                [tensors[name].shape for name in ("queries", "keys", "values", "block_cosine")],
                [(4, 8, 8), (2, 8, 8), (2, 8, 8), (8,)],
            )
            self.assertEqual(trace[f"model/layers/{layer}/output_projection"].shape, (32, 32))

    def test_names_of_places_stay_out_of_the_trace(self):
        self.record()
        self.assertNotIn(str(self.folder).encode(), self.trace().read_bytes())

    def test_half_precision_is_the_rounded_float32(self):
        self.record()
        trace = self.open_trace()
        names = [f"samples/0000/layers/02/{tensor}" for tensor in ("queries", "keys", "values")]
        names.append("model/layers/02/output_projection")
        exact = {name: trace[name][()] for name in names}
        trace.close()
        for dtype, error in (("float16", 2**-11), ("bfloat16", 2**-8)):
            with self.subTest(dtype):
                self.record("--dtype", dtype, "--force")
                with h5py.File(self.trace()) as file:
                    for name in names:
                        stored = file[name].astype("float32")[()]
                        np.testing.assert_allclose(stored, exact[name], rtol=error, atol=1e-7)
                        self.assertEqual(file[name].id.get_type().get_size(), 2)

    def test_float16_is_stored_as_ieee_half(self):
        self.record("--dtype", "float16")
        self.assertEqual(self.open_trace()["samples/0000/layers/00/keys"].dtype, np.dtype("<f2"))

    def test_bfloat16_is_a_float_of_its_own_shape(self):
        self.record("--dtype", "bfloat16", "--gzip")
        kind = self.open_trace()["samples/0000/layers/00/keys"].id.get_type()
        self.assertEqual(kind.get_class(), h5py.h5t.FLOAT)
        self.assertEqual(kind.get_fields(), (15, 7, 8, 0, 7))
        self.assertEqual((kind.get_ebias(), kind.get_precision(), kind.get_size()), (127, 16, 2))
        self.assertEqual(kind.get_order(), h5py.h5t.ORDER_LE)

    def test_gzip_changes_the_storage_and_not_the_values(self):
        self.record()
        plain = {
            name: self.open_trace()[f"samples/0000/layers/01/{name}"][()] for name in ("queries", "keys", "values")
        }
        h5py.File(self.trace()).close()
        zipped = self.folder / "zipped.h5"
        self.record("--gzip", "--output", zipped)
        with h5py.File(zipped) as file:
            for name, values in plain.items():
                dataset = file[f"samples/0000/layers/01/{name}"]
                self.assertEqual((dataset.compression, dataset.shuffle), ("gzip", True))
                self.assertEqual((dataset.chunks[0], dataset.chunks[2]), (1, 8))
                np.testing.assert_array_equal(dataset[()], values)

    def test_a_subset_of_layers_keeps_its_indices(self):
        self.record("--layers", "2,0", "--no-output-projection")
        trace = self.open_trace()
        self.assertEqual(trace.attrs["layers"].tolist(), [0, 2])
        self.assertEqual(list(trace["model/layers"]), ["00", "02"])
        self.assertEqual(list(trace["samples/0000/layers"]), ["00", "02"])
        self.assertNotIn("output_projection", trace["model/layers/02"])

    def test_forward_calls_begin_with_the_prompt_and_each_decoded_token(self):
        self.record("--decode", 3)
        sample = self.open_trace()["samples/0000"]
        start = int(sample.attrs["decode_start"])
        self.assertEqual(sample["forward_begins"][()].tolist(), [0, start, start + 1, start + 2])

    def test_an_early_end_is_masked_and_noted(self):
        self.record("--decode", 6)
        with h5py.File(self.trace()) as trace:
            start = int(trace["samples/0000"].attrs["decode_start"])
            free = trace["samples/0000/token_ids"][start:].tolist()
        end = free[2]
        step = free.index(end)  # the same model, but now this token ends an answer
        model = save_tiny_model(self.folder / "short-spoken", "llama", eos_token_id=end)
        outcome = self.record("--decode", 6, "--force", model=model)
        sample = self.open_trace()["samples/0000"]
        decoded = sample["token_ids"][start:].tolist()
        self.assertEqual(sample.attrs["eos_masked_at"], start + step)
        self.assertEqual(decoded[:step], free[:step])
        self.assertNotIn(end, decoded)
        self.assertEqual(len(decoded), 6)
        self.assertIn(f"position {start + step}", outcome.out)

    def test_quiet_says_nothing(self):
        outcome = self.record("--decode", 2, "--quiet")
        self.assertEqual((outcome.out, outcome.err), ("", ""))

    def test_the_report_says_what_was_stored(self):
        prompts = self.prompts({"name": "a", "text": [{"text": "the cat", "span": "context"}, " sat"]})
        outcome = self.record("--decode", 2, prompts=prompts)
        for words in (
            "a: ",
            "2 decoded tokens",
            "context [1, ",
            "compression points: context ",
            "queries: ",
            "keys: ",
            "largest magnitude",
            "decoded: ",
            "1 sample, layers 0-2 of 3",
            "float32",
        ):
            self.assertIn(words, outcome.out)
        self.assertEqual(outcome.err, "")

    def test_the_largest_magnitudes_are_those_in_the_file(self):
        outcome = self.record()
        layers = self.open_trace()["samples/0000/layers"]
        for name in ("queries", "keys", "values"):
            largest = max(float(np.abs(layer[name][()]).max()) for layer in layers.values())
            self.assertIn(f"largest magnitude {largest:.4g} ", outcome.out)

    def test_the_configuration_is_json(self):
        self.record()
        self.assertEqual(json.loads(self.open_trace().attrs["model_config"])["model_type"], "llama")
