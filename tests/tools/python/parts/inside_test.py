"""Replays inside of Python's process: what comes out, and what goes wrong.

KVREPLAY_PROGRAM=build/kvreplay python3 -m pytest tests/tools/python/parts/inside_test.py
"""

import json
import os
import signal
import threading
import traceback
import unittest
from unittest import mock

import h5py
import numpy as np

import kvreplay as kr
from tests.support.python.small_results import TRACE, run
from tests.tools.python.parts import twins
from tests.tools.python.parts.inside_case import InsideCase

BUDGETS = [0.1, 0.5]


@kr.scorer("test-first")
def first(view):
    """the first tokens"""
    return np.broadcast_to(-np.arange(view.n_tokens), (view.n_kv_heads, view.n_tokens))


def failing(returned):
    """A scorer that returns returned(view), or raises what it raises."""

    @kr.scorer("test-failing")
    def fail(view):
        return returned(view)

    return fail


class Inside(InsideCase):
    def replay(self, policies, **options):
        return kr.replay(TRACE, policies, BUDGETS, layers=[2], metrics="output_error", **options)

    def test_it_is_the_program_bit_for_bit(self):
        policies = ["snapkv", "h2o+ada", "capkv", "knorm+global", "random"]
        inside, outside = (kr.replay(TRACE, policies, BUDGETS, inside=where) for where in (True, False))
        self.assertTrue(inside.identical(outside))

    def test_files_are_those_of_the_program(self):
        for where in (True, False):
            self.replay(
                "snapkv", inside=where, output=self.folder / f"{where}.h5", retained=self.folder / f"s{where}.h5"
            )
        for pair in ((f"{where}.h5" for where in (True, False)), (f"s{where}.h5" for where in (True, False))):
            mine, theirs = ((self.folder / name).read_bytes() for name in pair)
            self.assertEqual(mine, theirs)

    def test_a_policy_in_python_does_not_change_the_others(self):
        alone, together = self.replay(["snapkv", "h2o"]), self.replay(["snapkv", first, "h2o"])
        names = ["snapkv", "h2o"]
        self.assertTrue(alone["output_error"].equals(together["output_error"].sel(policy=names)))
        self.assertIn("test-first", together["policy"])

    def test_an_unused_part_is_in_no_default(self):
        self.assertNotIn("test-first", kr.plan(TRACE).policies)
        self.assertIn("test-first", kr.plan(TRACE, ["default", first]).policies)

    def test_progress_is_heard_as_from_the_program(self):
        for where in (True, False):
            lines = []
            with mock.patch.dict(os.environ, KVREPLAY_PROGRESS_MS="1"):
                self.replay(["snapkv", "capkv"], inside=where, progress=lines.append)
            self.assertTrue(lines)
            for line in lines:
                self.assertRegex(line, r"replay: \d+ % of .*FLOP after \d+ m?s")

    def test_versions_are_options_of_the_results(self):
        def made(power):
            @kr.scorer("test-power")
            def score(view):
                return -(np.linalg.norm(view.keys, axis=-1) ** power)

            return score

        versions = set()
        for power in (1, 2):
            options = json.loads(self.replay([made(power)]).attrs["options"])
            versions.add(options["versions"]["test-power"])
        self.assertEqual(len(versions), 2)  # another value that it closes over

    def test_exceptions_arrive_as_themselves_with_a_note(self):
        def broken(view):
            return {}["nothing"]

        try:
            self.replay([failing(broken)])
        except KeyError as error:
            (note,) = error.__notes__
            self.assertRegex(note, "scorer 'test-failing', layer 2, sample 0, compression point '(context|prompt)'")
            self.assertIn("broken", [frame.name for frame in traceback.extract_tb(error.__traceback__)])
        else:
            self.fail("no KeyError")

    def test_what_no_scorer_may_return(self):
        cases = {
            r"scores of shape \[3\], expected \[heads, tokens\] \[3, 1": (ValueError, lambda view: [1.0, 2.0, 3.0]),
            'heads="query"': (ValueError, lambda view: np.zeros((view.n_q_heads, view.n_tokens))),
            "returned NoneType": (TypeError, lambda view: None),
            "returned list of dtype <U1": (TypeError, lambda view: ["a", "b"]),
            "NaN": (kr.InputError, lambda view: np.full((view.n_kv_heads, view.n_tokens), np.nan)),
        }
        for message, (kind, returned) in cases.items():
            with self.subTest(message), self.assertRaisesRegex(kind, message):
                self.replay([failing(returned)])

    def test_what_no_allocator_may_return(self):
        def allocated(returned, **settings):
            @kr.allocator("test-split", **settings)
            def split(view, layer):
                return returned(layer)

            return self.replay([split, "knorm+test-split"][1:])

        cases = {
            "gave out 0 tokens of the": (kr.InputError, lambda layer: np.zeros((2, 3), int)),
            r"gave head 0 of layer 2 -1 tokens of": (kr.InputError, lambda layer: np.full((2, 3), -1)),
            r"of shape \[1, 3\] for layer 2, expected \[2, 3\]": (kr.InputError, lambda layer: np.zeros((1, 3), int)),
            "dtype float64, expected whole numbers": (TypeError, lambda layer: np.zeros((2, 3))),
        }
        for message, (kind, returned) in cases.items():
            with self.subTest(message), self.assertRaisesRegex(kind, message):
                allocated(returned)
        found = allocated(lambda layer: np.repeat((layer.tokens - 1)[:, None], 3, 1), approximate=True)
        self.assertTrue(np.isfinite(found["output_error"].values).all())

    def test_a_modifier_keeps_the_shape(self):
        @kr.modifier("test-halved")
        def halved(view, scores):
            return scores[:, ::2]

        with self.assertRaisesRegex(ValueError, r"scores of shape \[3, \d+\], expected \[heads, tokens\] \[3, \d+\]"):
            self.replay(["knorm+test-halved"])

    def test_names_of_the_program_are_taken(self):
        @kr.scorer("knorm")
        def mine(view):
            return view.keys[..., 0]

        try:
            with self.assertRaisesRegex(kr.UsageError, "the policy name 'knorm' is taken"):
                self.replay([mine])
        finally:
            from kvreplay.parts import part

            del part._known[("scorer", "knorm")]

    def test_needs_are_checked_before_the_work(self):
        @kr.scorer("test-wide", needs="queries:window")
        def wide(view, window=5000):
            raise AssertionError("not to be called")

        with self.assertRaisesRegex(kr.InputError, "observation window of 5000 queries is longer"):
            self.replay([wide])

    def test_the_future_is_for_those_that_say_so(self):
        with self.assertRaises(RuntimeError):
            self.replay([failing(lambda view: view.evaluation_attention()[: view.n_kv_heads])])

    def test_arrays_outlive_the_call_and_the_view_does_not_compute(self):
        escaped = []

        @kr.scorer("test-escape", needs="queries:16")
        def escape(view):
            sums = view.attention_sums(16)
            escaped.append((view, view.keys, view.keys.copy(), sums, sums.copy()))
            return -np.linalg.norm(view.keys, axis=-1)

        kr.replay(TRACE, [escape], BUDGETS, metrics="output_error", threads=1)
        self.assertGreater(len(escaped), 1)  # slices are reused, those that are looked at are not
        for view, keys, copied, sums, summed in escaped:
            np.testing.assert_array_equal(keys, copied)
            np.testing.assert_array_equal(sums, summed)
            np.testing.assert_array_equal(view.keys, copied)
            self.assertFalse(keys.flags.writeable)
            with self.assertRaisesRegex(RuntimeError, "keep its arrays, not the view"):
                view.attention_sums(16)

    def test_what_a_view_has(self):
        seen = []

        @kr.scorer("test-look", needs=["queries", "output_projection"])
        def look(view):
            seen.append(view)
            n, q, kv, d = view.n_tokens, view.n_q_heads, view.n_kv_heads, view.head_dim
            self.assertEqual((q, kv, d, view.layer, view.sample, view.first_position), (9, 3, 64, 2, 0, 0))
            self.assertEqual(view.queries().shape, (q, n, d))
            self.assertEqual(view.queries(8).shape, (q, 8, d))
            np.testing.assert_array_equal(view.queries()[:, -8:], view.queries(8))
            self.assertEqual(view.output_projection.shape, (q, view.value_dim, 576))
            self.assertEqual(view.unrotated_keys.shape, (kv, n, d))
            rows = view.attention_rows(4, 8)
            np.testing.assert_allclose(rows.sum(1), 1, atol=1e-5)
            np.testing.assert_allclose(rows.sum(0), view.attention_sums(8)[4], atol=1e-6)
            logits = view.queries(1)[4] @ view.keys[4 // 3].T * view.scale
            soft = np.exp(logits - logits.max())
            np.testing.assert_allclose(view.attention_sums(1)[4], (soft / soft.sum())[0], atol=1e-6)
            np.testing.assert_array_equal(view.n_seen_by(8), np.minimum(8, n - np.arange(n)))
            mean, covariance = view.query_moments(sinks=0, future=1)
            self.assertEqual((mean.shape, covariance.shape), ((q, d), (q, d, d)))
            np.testing.assert_allclose(view.value_norms(), np.linalg.norm(view.values, axis=-1), rtol=1e-5)
            self.assertEqual(view.value_norms(projected=True).shape, (q, n))
            self.assertIn(f"{n} tokens, 3 KV heads", repr(view))
            return view.keys[..., 0]

        self.replay([look])
        self.assertEqual({view.compression_point for view in seen}, {"context", "prompt"})

    def test_a_budget_reaches_python(self):
        asked = set()

        @kr.scorer_at("test-budget")
        def at(view, budget):
            asked.add((round(budget.kept, 3), round(budget.removed, 3), budget.tokens / view.n_tokens > 0.3))
            return view.keys[..., 0]

        self.replay([at])
        self.assertEqual(asked, {(0.1, 0.9, False), (0.5, 0.5, True)})

    def test_layers_may_be_noted_and_split(self):
        noted, seen = {}, []

        @kr.allocator("test-layers", level="layers", survey=lambda view, layer: [view.layer, layer.n_heads])
        def split(layers):
            noted.update({layer.layer: layer.noted.tolist() for layer in layers})
            seen.extend(map(repr, layers))
            total = sum(layer.tokens for layer in layers)
            return [total - (len(layers) - 1) * (total // len(layers))] + [total // len(layers)] * (len(layers) - 1)

        ds = kr.replay(TRACE, ["knorm+test-layers", "knorm+test-layers+ada"], BUDGETS, metrics="kept_fraction")
        layers = ds["layer"].values.tolist()
        self.assertEqual(noted, {layer: [layer, 3] for layer in layers})
        self.assertRegex(seen[0], rf"<Layer {layers[0]}: 3 heads, \d+ tokens, 2 budgets>")
        self.assertEqual(ds.sizes["policy"], 2)

    def test_ctrl_c_ends_it(self):
        called = threading.Event()

        @kr.scorer("test-slow")
        def slow(view):
            called.set()
            threading.Event().wait(0.2)
            return view.keys[..., 0]

        def interrupt():
            called.wait(30)
            os.kill(os.getpid(), signal.SIGINT)

        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            thread = threading.Thread(target=interrupt)
            thread.start()
            with self.assertRaises(KeyboardInterrupt):
                kr.replay(TRACE, [slow], "0.02:1:16", threads=1)
            thread.join()
        finally:
            signal.signal(signal.SIGINT, before)
        self.replay([first])  # and the next one works

    def test_a_replay_within_a_replay_is_refused(self):
        with self.assertRaisesRegex(kr.UsageError, "one at a time"):
            self.replay([failing(lambda view: self.replay([first]))])

    def test_threads_do_not_matter(self):
        one, two = (kr.replay(TRACE, [twins.heavy_hitters], BUDGETS, threads=threads) for threads in (1, 2))
        self.assertTrue(one.identical(two))


class SavedScores(InsideCase):
    def test_the_program_keeps_what_the_scorer_keeps(self):
        for scorer, parameters in (
            (twins.key_norm, {}),
            (twins.window_attention, {"window": 16}),
            (twins.heavy_hitters, {}),
        ):
            with self.subTest(scorer.name):
                file, sets = self.folder / f"{scorer.name}.h5", self.folder / f"{scorer.name}-sets.h5"
                policy = kr.save_scores(TRACE, scorer, file, compression_points="prompt", **parameters)
                text = scorer.name + "".join(f":{name}={value}" for name, value in parameters.items())
                where = ["-b", "0.1,0.5", "--compression-point", "prompt", "-m", "kept_fraction"]
                run("replay", TRACE, "--scores", f"saved={file}", "-p", policy.replace(scorer.name, "saved"), *where,
                    "-o", self.folder / f"{scorer.name}-r.h5", "--save-retained", self.folder / "program.h5", "--force")  # fmt: skip
                kr.replay(TRACE, [text], BUDGETS, compression_points="prompt", metrics="kept_fraction", retained=sets)
                mine, theirs = kr.retained(sets), kr.retained(self.folder / "program.h5")
                (name,) = theirs.policies
                self.assertTrue((mine.array(policy=mine.policies[0]) == theirs.array(policy=name)).all())

    def test_several_traces_go_into_one_file(self):
        other = self.folder / "other.h5"
        run("synth", "-o", other, "--prompt", 64, "--decode", 8)
        file = self.folder / "both.h5"
        kr.save_scores([other], twins.key_norm, file)
        with h5py.File(file) as scores:
            self.assertEqual(len(scores["traces"]), 1)
        with self.assertRaisesRegex(kr.UsageError, "both.h5 exists"):
            kr.save_scores([other], twins.key_norm, file)

    def test_refusals_leave_nothing(self):
        for scorer in ("knorm", twins.leverage_at, twins.weigh_by_value):
            with self.subTest(str(scorer)), self.assertRaisesRegex(kr.UsageError, "expected a scorer"):
                kr.save_scores(TRACE, scorer, self.folder / "never.h5")
        with self.assertRaisesRegex(kr.UsageError, "'widow'; did you mean 'window'"):
            kr.save_scores(TRACE, twins.window_attention, self.folder / "never.h5", widow=16)
        with self.assertRaises(ZeroDivisionError):
            kr.save_scores(TRACE, failing(lambda view: 1 / 0), self.folder / "never.h5")
        self.assertEqual([path.name for path in self.folder.glob("never*")], [])


if __name__ == "__main__":
    unittest.main()
