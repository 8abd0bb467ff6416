"""kvreplay validate: that it runs the model which the retained sets describe, and reports what it measured."""

import contextlib
import csv
import io
import json
import math
import os
import subprocess
import unittest
from unittest import mock

import h5py
import numpy as np
import torch

from kvreplay.commands import validate
from kvreplay.validation.agreement import agreement
from tests.support.python.recording import TEXT, Outcome, RecorderTest
from tests.support.python.reference_eviction import EvictedModel, kl
from tests.support.python.replay_outcome import write_results, write_retained
from tests.support.python.tiny_models import save_tiny_model

PROGRAM = os.environ.get("KVREPLAY_PROGRAM")
CONTEXT = {"name": "a", "text": [{"text": TEXT, "span": "context"}, {"text": " where is the cat", "span": "question"}]}
BUDGETS = [0.25, 0.5, 1.0]


class ValidationTest(RecorderTest):
    def setUp(self):
        # Most replays here are written by hand, with no more than kvreplay validate reads.
        self.enterContext(mock.patch.dict(os.environ, {"KVREPLAY_TRUST_INPUT": "1"}))

    def file(self, ending: str):
        return self.trace().with_suffix(ending)

    def replayed(self, kind: str = "llama", policies=("one", "two"), head_axis: str = "kv", options=(), metrics=None):
        """Records a sample and writes random retained sets; at budget 1 everything is kept. Returns the arguments."""
        self.record(*options, "--force", model=self.model(kind), prompts=self.prompts(CONTEXT))
        generator = np.random.default_rng(3)
        self.sets, cases = {}, {}
        with h5py.File(self.trace()) as trace:
            sample = trace["samples/0000"]
            n_heads = int(trace.attrs["n_kv_heads" if head_axis == "kv" else "n_q_heads"])
            points = sample["compression_points"]
            for point, position in zip(points["name"].asstr(), points["position"][()].tolist()):
                cases[f"a@{point}"] = int(sample.attrs["n_tokens"]) - position
                for layer in trace.attrs["layers"]:
                    for policy in policies:
                        kept = generator.random((len(BUDGETS), n_heads, position)) < np.array(BUDGETS)[:, None, None]
                        if policy == "two" and layer == 0:  # one head keeps everything beside others that do not
                            kept[:, 1] = True
                        self.sets[f"0000/{point}/layers/{layer:02d}/retained/{policy}"] = kept
        metrics = metrics or {}
        results = write_results(self.file(".results.h5"), self.trace(), cases, list(policies), BUDGETS, metrics)
        retained = write_retained(self.file(".retained.h5"), self.sets, head_axis)
        return ["--model", self.model(kind), "--replay", self.trace(), results, retained]

    def retained_of(self, point: str, policy: str, budget: int, layers) -> dict[int, torch.Tensor]:
        names = {layer: f"0000/{point}/layers/{layer:02d}/retained/{policy}" for layer in layers}
        return {layer: torch.from_numpy(self.sets[name][budget]) for layer, name in names.items()}

    def attempt_validation(self, *arguments) -> Outcome:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = validate.main([str(argument) for argument in arguments])
        return Outcome(code, out.getvalue(), err.getvalue())

    def rows(self, *arguments) -> list[dict[str, str]]:
        """Validates and reads the CSV."""
        outcome = self.attempt_validation(*arguments, "--csv", self.file(".csv"), "--force")
        self.assertEqual(outcome.code, 0, outcome.err)
        with open(self.file(".csv"), encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def assert_validation_refused(self, outcome: Outcome, code: int, *words: str) -> None:
        self.assertEqual((outcome.code, outcome.err.count("\n"), outcome.out), (code, 1, ""), outcome.err)
        for word in words:
            self.assertIn(word, outcome.err)


class LiveLosses(ValidationTest):
    def check_against_reference(self, arguments: list, kind: str, policies=("one", "two")) -> None:
        rows = {(row["case"], row["policy"], float(row["budget"])): row for row in self.rows(*arguments)}
        with h5py.File(self.trace()) as trace:
            sample = trace["samples/0000"]
            ids, decode_start = sample["token_ids"][()].tolist(), int(sample.attrs["decode_start"])
            points = dict(zip(sample["compression_points/name"].asstr(), sample["compression_points/position"]))
            layers = trace.attrs["layers"].tolist()
        self.assertEqual(len(rows), len(points) * len(policies) * len(BUDGETS))
        for point, position in points.items():
            reference = EvictedModel(self.model(kind), ids, int(position))
            full = reference.logits()
            # Scored are the queries that predict decoded tokens and the one after the last, which nobody knows.
            scored = torch.arange(int(position), len(ids)) + 1 >= decode_start
            known = scored[:-1]
            follow = torch.tensor(ids[int(position) + 1 :])[known]
            for policy in policies:
                for b, budget in enumerate(BUDGETS):
                    evicted = reference.logits(self.retained_of(point, policy, b, layers))
                    row = rows[f"a@{point}", policy, budget]
                    expected = float(kl(full[scored], evicted[scored]).mean())
                    self.assertAlmostEqual(float(row["true_kl"]), expected, delta=1e-5 + 1e-4 * expected)
                    nll = [-torch.log_softmax(x, -1)[:-1][known].gather(1, follow[:, None]) for x in (evicted, full)]
                    increase = float((nll[0] - nll[1]).mean())
                    self.assertAlmostEqual(float(row["nll_increase"]), increase, delta=1e-5 + 1e-4 * abs(increase))
                    self.assertEqual(row["keeps_all"], str(int(budget == 1)))
                    self.assertEqual(expected > 1e-3, budget < 1)

    def test_they_are_those_of_a_model_that_cannot_see_the_evicted(self):
        for kind in ("llama", "qwen3", "gemma2", "gemma3"):
            with self.subTest(kind):
                self.check_against_reference(self.replayed(kind), kind)

    def test_sets_per_query_head(self):
        self.check_against_reference(self.replayed(head_axis="query"), "llama")
        self.check_against_reference(self.replayed("gemma2", head_axis="query"), "gemma2")

    def test_layers_that_were_not_replayed_keep_everything(self):
        arguments = self.replayed(options=["--layers", "0,2"])
        self.check_against_reference(arguments, "llama")
        self.assertIn("1 layers were not replayed", self.attempt_validation(*arguments).err)

    def test_keeping_everything_costs_nothing_and_is_measured_so(self):
        from kvreplay.common.attention_hook import ATTENTION_NAME, AttentionHook
        from kvreplay.common.model_loader import load_model, open_model
        from kvreplay.validation.live_model import LiveCase
        from kvreplay.validation.replay_files import Replay

        for kind in ("llama", "gemma2"):
            arguments = self.replayed(kind)
            replay, hook = Replay(*arguments[3:]), AttentionHook()
            hook.register()
            model = load_model(open_model(self.model(kind), None), ATTENTION_NAME, "float32", "cpu")
            for case in replay.cases:
                loss = LiveCase(model, hook, case).measure(replay.retained_sets(case, "one", BUDGETS.index(1.0)))
                self.assertAlmostEqual(loss.kl, 0, delta=1e-9)
                self.assertAlmostEqual(loss.nll_increase, 0, delta=1e-5)
            replay.close()

    def test_what_the_sensitivity_scores_is_what_counts(self):
        arguments = self.replayed(options=["--sensitivity", 4, "--sensitivity-targets", "question"])
        with h5py.File(self.trace()) as trace:
            scored = torch.from_numpy(trace["samples/0000/sensitivity/context/target_mask"][()].astype(bool))
            ids = trace["samples/0000/token_ids"][()].tolist()
            position = len(ids) - len(scored)
        reference = EvictedModel(self.model(), ids, position)
        evicted = reference.logits(self.retained_of("context", "one", 0, range(3)))
        expected = float(kl(reference.logits()[scored], evicted[scored]).mean())
        row = next(row for row in self.rows(*arguments) if (row["case"], row["policy"]) == ("a@context", "one"))
        self.assertAlmostEqual(float(row["true_kl"]), expected, delta=1e-4 * expected)


class Agreements(unittest.TestCase):
    def test_figures_by_hand(self):
        truth = np.array([1.0, 2, 4, 8, 1, 1.4, 3])
        groups = np.array([0, 0, 0, 0, 1, 1, 1])
        surrogate = np.array([1.0, 3, 2, 9, 5, 4, 6])
        # Group 0: ranks 1234 and 1324, 1 - 6 * 2 / (4 * 15) = 0.8; 1: ranks 123 and 213, 1 - 6 * 2 / (3 * 8) = 0.5.
        # Pairs apart: all six of group 0, of which 2 < 4 is not told; in group 1, 1 and 1.4 are not, both with 3 are.
        found = agreement(truth, surrogate, groups, lower_is_better=True)
        self.assertAlmostEqual(found.spearman, 0.65)
        self.assertEqual((found.n_groups, found.n_pairs), (2, 8))
        self.assertAlmostEqual(found.pairs_right, 7 / 8)
        # truth / surrogate: 1, .667, 2, .889, .2, .35, .5: median .667; factors 1.5, 1, 3, 1.33, 3.33, 1.905, 1.33
        self.assertAlmostEqual(found.scale, 2 / 3)
        self.assertAlmostEqual(found.factor, 1.5)
        upside_down = agreement(truth, -surrogate, groups, lower_is_better=False)
        self.assertAlmostEqual(upside_down.spearman, 0.65)
        self.assertAlmostEqual(upside_down.pairs_right, 7 / 8)
        self.assertTrue(math.isnan(upside_down.scale))

    def test_what_cannot_tell_anything_apart_is_right_about_nothing(self):
        found = agreement(np.array([1.0, 2, 4]), np.ones(3), np.zeros(3), True)
        self.assertEqual((found.spearman, found.pairs_right, found.n_pairs), (0, 0, 3))

    def test_rows_without_figures_do_not_count(self):
        found = agreement(np.array([1.0, 2, 4, 8]), np.array([1.0, np.nan, 3, 2]), np.zeros(4), True)
        self.assertEqual(found.n_pairs, 3)
        self.assertTrue(math.isnan(agreement(np.array([1.0, 2]), np.array([1.0, 2]), np.arange(2), True).spearman))


class Reports(ValidationTest):
    def test_every_metric_is_set_beside_the_loss(self):
        n_cases, shape = 2, ["case", "layer", "q_head", "policy", "budget"]
        errors = np.random.default_rng(1).random((n_cases, 3, 4, 2, 3))
        errors[1, 0, 2, 0, 1] = np.nan
        predicted = np.arange(1.0, 13).reshape(2, 2, 3)
        arguments = self.replayed(
            metrics={
                "output_error": ("lower", shape, errors),
                "attention_recall": ("higher", shape, 1 - errors),
                "predicted_kl": ("lower", ["case", "policy", "budget"], predicted),
                "predicted_kl_standard_error": (
                    "lower",
                    ["case", "policy", "budget"],
                    predicted,
                    {"formula": "sqrt_over", "contest": 0},
                ),
                "bytes": ("lower", ["case", "layer", "policy", "budget"], errors[:, :, 0], {"formula": "sum"}),
                "kept_fraction": ("lower", ["case", "layer", "policy", "budget"], errors[:, :, 0]),
            }
        )
        rows = self.rows(*arguments, "--json", self.file(".json"))
        surrogates = set(rows[0]) - {"trace", "case", "policy", "budget", "keeps_all", "true_kl", "nll_increase"}
        self.assertEqual(surrogates, {"output_error", "attention_recall", "predicted_kl"})
        place = {(row["case"], row["policy"], float(row["budget"])): row for row in rows}
        row = place["a@prompt", "one", 0.5]  # the second case: points come by position
        self.assertAlmostEqual(float(row["output_error"]), np.nanmean(errors[1, :, :, 0, 1]))
        self.assertEqual(float(row["predicted_kl"]), predicted[1, 0, 1])
        document = json.loads(self.file(".json").read_text(encoding="utf-8"))
        self.assertEqual(len(document["rows"]), 12)
        self.assertEqual(set(document["agreement"]), surrogates)
        self.assertEqual([each["case"] for each in document["by_case"]], ["a@context", "a@prompt"])
        n_pairs = 0
        for case, budget in ((case, budget) for case in ("a@context", "a@prompt") for budget in (0.25, 0.5)):
            one, two = (float(place[case, policy, budget]["true_kl"]) for policy in ("one", "two"))
            n_pairs += not 1 / 1.5 <= one / two <= 1.5
        self.assertEqual(document["agreement"]["predicted_kl"]["n_pairs"], n_pairs)
        text = self.attempt_validation(*arguments, "--rows").out
        for words in ("true KL", "dNLL", "pairs right", "output_error", "predicted_kl by case", "by budget"):
            self.assertIn(words, text)

    def test_policies_and_budgets_can_be_chosen_and_replays_joined(self):
        arguments = self.replayed()
        rows = self.rows(*arguments, *arguments[2:], "--policy", "two", "--budget", "0.5,1")
        self.assertEqual({(row["policy"], row["budget"]) for row in rows}, {("two", "0.5"), ("two", "1.0")})
        self.assertEqual(len(rows), 2 * 2 * 2)

    @unittest.skipUnless(PROGRAM, "KVREPLAY_PROGRAM is not set to the path of the kvreplay program")
    def test_a_replay_of_the_program(self):
        second = {"name": "b", "text": "a corner on the floor of the room, and in the corner the other cat on a mat"}
        self.record("--sensitivity", 4, prompts=self.prompts(CONTEXT, second))
        results, retained = self.file(".results.h5"), self.file(".retained.h5")
        replay = [PROGRAM, "replay", self.trace(), "-o", results, "--save-retained", retained, "--budget", "0.3,0.6,1"]
        policies = ["-p", "knorm,snapkv:window=4+ada,snapkv:window=4+pyramid,random,oracle"]
        run = subprocess.run(replay + policies, capture_output=True, text=True)
        self.assertEqual(run.returncode, 0, run.stderr)
        with mock.patch.dict(os.environ, {"KVREPLAY_TRUST_INPUT": ""}):
            rows = self.rows("--model", self.model(), "--replay", self.trace(), results, retained)
        self.assertEqual(len(rows), 3 * 5 * 3)
        for row in rows:
            self.assertEqual(float(row["true_kl"]) == 0, float(row["budget"]) == 1, row)
            self.assertGreater(float(row["output_error"]) + int(row["keeps_all"]), 0)


class Refusals(ValidationTest):
    def test_another_model(self):
        arguments = self.replayed()
        arguments[1] = save_tiny_model(self.folder / "wider", "llama", num_hidden_layers=4)
        self.assert_validation_refused(self.attempt_validation(*arguments), 3, "n_layers is 3, in the model 4")
        arguments[1] = save_tiny_model(
            self.folder / "shaken", "llama", alter=lambda model: model.model.layers[1].self_attn.q_proj.weight.mul_(1.1)
        )
        outcome = self.attempt_validation(*arguments)
        self.assert_validation_refused(outcome, 3, "the queries of layer 1 differ", "another model")
        # The same attention, other predictions:
        arguments[1] = save_tiny_model(self.folder / "head", "llama", alter=lambda model: model.lm_head.weight.neg_())
        self.assert_validation_refused(self.attempt_validation(*arguments), 3, "decodes other tokens than the trace")

    def test_files_that_do_not_belong_together(self):
        arguments = self.replayed()
        with h5py.File(arguments[5], "r+") as retained:
            retained.attrs["options"] = '{"seed": 2}'
        outcome = self.attempt_validation(*arguments)
        self.assert_validation_refused(outcome, 3, str(arguments[5]), "is not of the same replay as", str(arguments[4]))
        arguments = self.replayed()
        with h5py.File(arguments[4], "r+") as results:
            results["n_queries"][0] = 3
        self.assert_validation_refused(self.attempt_validation(*arguments), 3, "'a@context'", "evaluation queries", "3")
        outcome = self.attempt_validation(*arguments[:3], arguments[4], *arguments[4:])
        self.assert_validation_refused(outcome, 3, "expected a file of the format kvreplay-trace, found kvreplay-r")

    def test_retained_sets_that_are_missing_or_misshapen(self):
        arguments = self.replayed()
        name = "samples/0000/context/layers/01/retained/one"
        with h5py.File(arguments[5], "r+") as retained:
            del retained[name]
        self.assert_validation_refused(self.attempt_validation(*arguments), 3, f"{name} is missing")
        arguments = self.replayed()
        with h5py.File(arguments[5], "r+") as retained:
            kept, attributes = retained[name][()], dict(retained[name].attrs)
            del retained[name]
            retained[name] = kept[:, :, 1:]
            retained[name].attrs.update(attributes)
        self.assert_validation_refused(self.attempt_validation(*arguments), 3, name, "expected (3, 2, ")

    def test_choices_and_outputs_that_cannot_be(self):
        arguments = self.replayed()
        outcome = self.attempt_validation(*arguments, "--policy", "three")
        self.assert_validation_refused(outcome, 3, "no policy 'three'", "one, two")
        self.assert_validation_refused(self.attempt_validation(*arguments, "--budget", "0.3"), 3, "no budget 0.3")
        self.assert_validation_refused(self.attempt_validation(*arguments, "--budget", "half"), 2, "'half'")
        self.file(".csv").write_text("mine")
        outcome = self.attempt_validation(*arguments, "--csv", self.file(".csv"))
        self.assert_validation_refused(outcome, 2, "exists; --force replaces it")
        outcome = self.attempt_validation(*arguments[:2], "--replay", self.folder / "no.h5", *arguments[4:])
        self.assert_validation_refused(outcome, 3, "no.h5")
        self.file(".bad.h5").write_bytes(arguments[4].read_bytes()[:200])
        for trust in ("1", ""):
            with mock.patch.dict(os.environ, {"KVREPLAY_TRUST_INPUT": trust}):
                outcome = self.attempt_validation(*arguments[:4], self.file(".bad.h5"), arguments[5])
            self.assert_validation_refused(outcome, 3, ".bad.h5")


if __name__ == "__main__":
    unittest.main()
