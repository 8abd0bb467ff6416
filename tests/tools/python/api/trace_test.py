"""Traces as arrays.

KVREPLAY_PROGRAM=build/kvreplay python3 -m pytest tests/tools/python/api/trace_test.py
"""

import pickle
import unittest

import h5py
import numpy as np

import kvreplay as kr
from tests.support.python.small_results import TRACE, run
from tests.tools.python.api.small_trace import BUDGETS, SmallTrace


class OpenTrace(SmallTrace):
    def test_it_says_what_the_shipped_trace_holds(self):
        trace = kr.open_trace(TRACE)
        self.assertEqual((trace.n_layers, trace.n_q_heads, trace.n_kv_heads, trace.head_dim), (30, 9, 3, 64))
        (sample,) = trace.samples
        self.assertEqual(sample.compression_points["prompt"], sample.decode_start)
        self.assertEqual(len(sample.token_texts), sample.n_tokens)
        self.assertIn("needle", [name for name, _, _ in sample.spans])
        self.assertEqual([layer.index for layer in sample.layers], trace.layers)
        self.assertIs(trace.sample("needle"), sample)
        self.assertIn("9 query heads on 3 KV heads", repr(trace))
        self.assertIn("<pre><b>Trace smollm2-needle.h5", trace._repr_html_())

    def test_arrays_are_those_of_the_file(self):
        trace = kr.open_trace(self.trace)
        layer = trace.samples[1].layer(1)
        with h5py.File(self.trace) as file:
            group = file["samples/0001/layers/01"]
            for name in ("keys", "values", "queries"):
                array = getattr(layer, name)
                np.testing.assert_array_equal(array, group[name][()].astype(np.float32))
                self.assertEqual(array.dtype, np.float32)
                self.assertFalse(array.flags.writeable)
            np.testing.assert_array_equal(
                layer.output_projection, file["model/layers/01/output_projection"][()].astype(np.float32)
            )
        self.assertEqual(layer.queries.shape[1], len(trace.samples[1].query_positions))
        self.assertIs(layer.keys, layer.keys)  # read once

    def test_bfloat16_is_read_as_its_numbers(self):
        file = self.folder / "bf16.h5"
        run("synth", "-o", file, "--prompt", 128, "--decode", 16, "--dtype", "bfloat16")
        keys = kr.open_trace(file).samples[0].layers[0].keys
        self.assertTrue(np.isfinite(keys).all())
        self.assertTrue((keys.view(np.uint32) & 0xFFFF == 0).all())
        self.assertGreater(keys.std(), 0.01)

    def test_it_pickles_and_goes_where_paths_go(self):
        trace = pickle.loads(pickle.dumps(kr.open_trace(self.trace)))
        self.assertEqual(trace.samples[0].layers[0].keys.ndim, 3)
        found = kr.replay(trace, "knorm", BUDGETS, metrics="output_error")
        self.assertTrue(found.identical(kr.replay(self.trace, "knorm", BUDGETS, metrics="output_error")))

    def test_what_is_not_there_is_refused(self):
        trace = kr.open_trace(self.trace)
        with self.assertRaisesRegex(kr.UsageError, "unknown layer '?7"):
            trace.samples[0].layer(7)
        with self.assertRaisesRegex(kr.UsageError, "did you mean 'synthetic-0001'"):
            trace.sample("synthetic-001")
        with self.assertRaises(kr.InputError):
            kr.open_trace(self.results)
        with self.assertRaises(kr.InputError):
            kr.open_trace(self.folder / "nothing.h5")

    def test_ratios_are_those_of_kvpress(self):
        found = kr.replay(self.trace, "knorm", compression_ratios=[0.25, 0.9], metrics="kept_fraction")
        self.assertEqual(found.attrs["budget_kind"], "compression_ratio")
        with self.assertRaisesRegex(kr.UsageError, "give one"):
            kr.replay(self.trace, "knorm", 0.5, compression_ratios=0.25)


if __name__ == "__main__":
    unittest.main()
