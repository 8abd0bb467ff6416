"""Sensitivities: that they sketch the Fisher information of the model's predictions, as computed by brute force."""

import os
import subprocess
import unittest
from unittest import mock

import h5py
import numpy as np
import torch

from kvreplay.recorder import sensitivity_plan
from kvreplay.recorder.sensitivity_passes import draw_fisher
from kvreplay.recorder.sensitivity_rows import SensitivityRows
from tests.support.python.file_contents import contents
from tests.support.python.recording import TEXT, RecorderTest
from tests.support.python.reference_eviction import EvictedModel, kl

PROGRAM = os.environ.get("KVREPLAY_PROGRAM")
CONTEXT = {"name": "a", "text": [{"text": TEXT, "span": "context"}, {"text": " where is the cat", "span": "question"}]}
KEEP_FIRST = 4


class SensitivityTest(RecorderTest):
    def open_trace(self, path=None) -> h5py.File:
        trace = h5py.File(path or self.trace())
        self.addCleanup(trace.close)
        return trace

    def record_exactly(self, *arguments, **files) -> dict[tuple[str, int, int], np.ndarray]:
        """Records, and returns the gradients before they were rounded, by point, sketch and layer."""
        gradients = {}
        original = SensitivityRows.store

        def store(rows, sketch, layer, gradient):
            point = rows._group.name.rsplit("/", 1)[1]
            gradients[point, sketch, layer] = gradient.double().clone()
            original(rows, sketch, layer, gradient)

        with mock.patch.object(SensitivityRows, "store", store):
            self.record(*arguments, **files)
        return gradients

    def points(self, trace: h5py.File) -> dict[str, int]:
        points = trace["samples/0000/compression_points"]
        return dict(zip(points["name"].asstr()[()].tolist(), points["position"][()].tolist()))


def draws_of(group: h5py.Group, sketch: int, n_kv_heads: int, position: int) -> tuple[dict, torch.Generator]:
    """What the sketch's seed and level say is retained, by recorded layer, and the generator after these draws."""
    generator = torch.Generator().manual_seed(int(group["seed"][sketch]))
    layers = [int(name) for name in group["layers"]]
    level = float(group["level"][sketch])
    if level == 0:
        return {}, generator
    uniform = torch.rand((len(layers), n_kv_heads, position), generator=generator)
    retained = (uniform >= level) | (torch.arange(position) < KEEP_FIRST)
    return dict(zip(layers, retained)), generator


class Gradients(SensitivityTest):
    def check_gradients(self, kind: str, *arguments, sketches: int = 4) -> None:
        """Each sketch's gradients times a random change of the outputs = z times the change of the logits.

        The latter by forward differentiation of the reference model in float64, with the drops that the seed says.
        """
        model, path = self.model(kind), self.folder / f"{self.trace().stem}-{kind}.h5"
        gradients = self.record_exactly("--sensitivity", sketches, "--decode", 6, "--output", path, *arguments,
                                        model=model, prompts=self.prompts(CONTEXT))  # fmt: skip
        trace = self.open_trace(path)
        sample = trace["samples/0000"]
        for point, position in self.points(trace).items():
            group = sample[f"sensitivity/{point}"]
            reference = EvictedModel(model, sample["token_ids"][()].tolist(), position)
            scored = torch.from_numpy(group["target_mask"][()].astype(bool))
            n_new = len(scored)
            layers = [int(name) for name in group["layers"]]
            n_components = group[f"layers/{layers[0]:02d}/gradient"].shape[2]
            clean = reference.logits()
            for sketch in range(sketches):
                retained, generator = draws_of(group, sketch, int(trace.attrs["n_kv_heads"]), position)
                zero = torch.zeros((reference.n_layers, n_new, n_components), dtype=torch.float64)
                direction = zero.clone()
                direction[layers] = torch.randn((len(layers), n_new, n_components), dtype=torch.float64)
                logits, change = torch.autograd.functional.jvp(
                    lambda shift: reference.logits(retained, shift)[scored], zero, direction
                )
                z = draw_fisher(torch.softmax(logits, dim=-1).float(), generator).double()
                expected = float((z * change).sum())
                found = sum(float((gradients[point, sketch, layer] * direction[layer]).sum()) for layer in layers)
                scale = float(z.norm() * change.norm())
                self.assertLess(abs(found - expected), 1e-4 * scale, (kind, point, sketch))
                dropped = kl(clean[scored], logits).mean()
                tolerance = 1e-5 + 1e-4 * float(dropped)
                self.assertAlmostEqual(float(group["perturbed_kl"][sketch]), float(dropped), delta=tolerance)

    def test_they_are_those_of_the_model_with_the_drops_of_the_seed(self):
        for kind in ("llama", "qwen3", "gemma2", "gemma3", "smollm3", "cohere"):
            with self.subTest(kind):
                self.check_gradients(kind)

    def test_recorded_layers_only(self):
        self.check_gradients("llama", "--layers", "1,2")
        self.check_gradients("gemma2", "--layers", "0,2")

    def test_several_sketches_at_the_clean_point_share_a_pass(self):
        self.check_gradients("llama", sketches=9)

    def test_rows_are_rounded_to_int8(self):
        gradients = self.record_exactly("--sensitivity", 4)
        for gzip in (False, True):
            with self.subTest(gzip=gzip):
                self.record("--sensitivity", 4, "--force", *(["--gzip"] if gzip else []))
                group = self.open_trace()["samples/0000/sensitivity/prompt"]
                for (_, sketch, layer), gradient in gradients.items():
                    exact = gradient.numpy()
                    rows, scale = (group[f"layers/{layer:02d}/{name}"][sketch] for name in ("gradient", "scale"))
                    np.testing.assert_allclose(scale, np.abs(exact).max(axis=1) / 127, rtol=1e-6)
                    self.assertLessEqual(np.abs(rows * scale[:, None] - exact).max(), 0.501 * scale.max())
                    self.assertEqual(rows.shape, exact.shape)


class FisherInformation(SensitivityTest):
    def test_draws_have_the_covariance_of_the_fisher_information(self):
        p = torch.tensor([[0.7, 0.2, 0.1]], dtype=torch.float32)
        draws = draw_fisher(p.repeat(200_000, 1), torch.Generator().manual_seed(1)).double()
        self.assertLess(float(draws.sum(dim=1).abs().max()), 1e-5)
        # diag p - p p^T by hand: .7 * .3, -.7 * .2, -.7 * .1; .2 * .8, -.2 * .1; .1 * .9
        expected = torch.tensor([[0.21, -0.14, -0.07], [-0.14, 0.16, -0.02], [-0.07, -0.02, 0.09]])
        # Standard errors are at most .21 * sqrt(2 / 200,000) = 7e-4.
        self.assertLess(float((draws.T @ draws / len(draws) - expected).abs().max()), 3e-3)

    def test_clean_sketches_converge_to_the_quadratic_form_and_to_the_kl(self):
        n_sketches = 1024
        with mock.patch.object(sensitivity_plan, "LEVELS", (0.0,)):
            gradients = self.record_exactly("--sensitivity", n_sketches, "--decode", 5)
        trace = self.open_trace()
        sample = trace["samples/0000"]
        position = self.points(trace)["prompt"]
        reference = EvictedModel(self.model(), sample["token_ids"][()].tolist(), position)
        g = torch.stack([torch.stack([gradients["prompt", r, layer] for layer in range(3)]) for r in range(n_sketches)])
        n_new, n_components = g.shape[2:]

        generator = torch.Generator().manual_seed(5)
        zero = torch.zeros((3, n_new, n_components), dtype=torch.float64)
        change = 1e-3 * torch.randn(zero.shape, dtype=torch.float64, generator=generator)
        jacobian = torch.autograd.functional.jacobian(lambda shift: reference.logits(shift=shift), zero)
        moved = torch.einsum("vxltc,ltc->vxt", jacobian, change)  # [predicted at, vocabulary, changed at]
        p = torch.softmax(reference.logits(), dim=-1)
        fisher = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]

        s = torch.einsum("rltc,ltc->rt", g, change)
        # All changes at once: the Fisher quadratic form, which is the KL divergence itself to second order.
        together = moved.sum(dim=-1)
        form = 0.5 * torch.einsum("vx,vxy,vy->v", together, fisher, together).mean()
        self.check_mean(s.sum(dim=1) ** 2 / (2 * n_new), form)
        true_kl = kl(reference.logits(), reference.logits(shift=change)).mean()
        self.assertAlmostEqual(float(form / true_kl), 1, delta=0.02)
        # The square of each query's sum, as predicted_kl has it: the sum of the forms of one query's change each.
        apart = 0.5 * torch.einsum("vxt,vxy,vyt->", moved, fisher, moved) / n_new
        self.check_mean((s**2).sum(dim=1) / (2 * n_new), apart)
        for t in range(n_new):
            alone = torch.zeros_like(change)
            alone[:, t] = change[:, t]
            true_kl = kl(reference.logits(), reference.logits(shift=alone)).mean()
            self.check_mean(s[:, t] ** 2 / (2 * n_new), true_kl, bias=0.02)

    def check_mean(self, estimates: torch.Tensor, expected: torch.Tensor, bias: float = 0) -> None:
        """Within 4 standard errors, which are at most 8 % of it."""
        error = float(estimates.std() / len(estimates) ** 0.5)
        self.assertLess(error, 0.08 * float(expected))
        self.assertLess(abs(float(estimates.mean() - expected)), 4 * error + bias * float(expected))


class SensitivityGroups(SensitivityTest):
    def test_a_group_has_the_objects_of_the_schema(self):
        self.record("--sensitivity", 6, prompts=self.prompts(CONTEXT))
        trace = self.open_trace()
        self.assertEqual(trace.attrs["format_version"], "1.3")
        sample = trace["samples/0000"]
        n_tokens, decode_start = int(sample.attrs["n_tokens"]), int(sample.attrs["decode_start"])
        self.assertEqual(set(sample["sensitivity"]), {"context", "prompt"})
        for point, position in self.points(trace).items():
            group = sample[f"sensitivity/{point}"]
            n_queries = n_tokens - position
            self.assertEqual(dict(group.attrs), {"kind": "gaussian-fisher", "keep_first": KEEP_FIRST})
            self.assertEqual(set(group), {"level", "seed", "target_mask", "perturbed_kl", "layers"})
            self.assertEqual(group["level"][()].tolist(), [0, 0.25, 0.5, 0.75, 0, 0.25])
            self.assertEqual((group["level"].dtype, group["seed"].dtype), (np.float32, np.uint64))
            self.assertEqual(len(set(group["seed"][()].tolist())), 6)
            # The query at t predicts the token at t + 1.
            expected = [int(t + 1 >= decode_start) for t in range(position, n_tokens)]
            self.assertEqual(group["target_mask"][()].tolist(), expected)
            self.assertEqual((group["target_mask"].dtype, group["perturbed_kl"].dtype), (np.uint8, np.float32))
            moved = (group["perturbed_kl"][()] > 1e-6).tolist()
            self.assertEqual(moved, [level > 0 for level in group["level"]])
            self.assertEqual(list(group["layers"]), ["00", "01", "02"])
            for layer in group["layers"].values():
                self.assertEqual((layer["gradient"].shape, layer["gradient"].dtype), ((6, n_queries, 32), np.int8))
                self.assertEqual((layer["scale"].shape, layer["scale"].dtype), ((6, n_queries), np.float32))
                largest = np.abs(layer["gradient"][()].astype(int)).max(axis=2)
                np.testing.assert_array_equal(largest, 127 * (layer["scale"][()] > 0))
            # In the last layer what is not scored has no say in anything.
            np.testing.assert_array_equal(layer["scale"][0] > 0, expected)

    def test_the_same_prompt_gives_the_same_sketches(self):
        other = self.folder / "other.h5"
        self.record("--sensitivity", 4)
        prompts = self.prompts({"name": "first", "text": "the cat"}, {"name": "a", "text": TEXT})
        self.record("--sensitivity", 4, "--output", other, prompts=prompts)
        alone, second = self.open_trace()["samples/0000"], self.open_trace(other)["samples/0001"]
        for name in ("seed", "perturbed_kl", "layers/02/gradient", "layers/00/scale"):
            np.testing.assert_array_equal(alone[f"sensitivity/prompt/{name}"], second[f"sensitivity/prompt/{name}"])
        seeds = self.open_trace(other)["samples/0000/sensitivity/prompt/seed"]
        self.assertFalse(set(seeds[()]) & set(second["sensitivity/prompt/seed"][()]))

    def test_nothing_else_in_the_trace_changes(self):
        plain, probes = self.folder / "plain.h5", ("--probes", "repeat-context")
        self.record(*probes, "--output", plain, prompts=self.prompts(CONTEXT))
        self.record(*probes, "--sensitivity", 4, prompts=self.prompts(CONTEXT))
        found = {name: value for name, value in contents(self.open_trace()).items() if "/sensitivity" not in name}
        expected = contents(self.open_trace(plain))
        for items in (found, expected):
            del items["/@created"]
        self.assertEqual(found, expected)

    def test_targets_can_be_all_or_a_span(self):
        for targets in ("all", "question"):
            path = self.folder / f"{targets}.h5"
            self.record("--sensitivity", 4, "--sensitivity-targets", targets, "--decode", 0, "--output", path,
                        prompts=self.prompts(CONTEXT))  # fmt: skip
            trace = self.open_trace(path)
            mask = trace["samples/0000/sensitivity/context/target_mask"][()]
            # The context ends where the question begins: only the last query predicts no token of the question.
            expected = np.ones(len(mask)) if targets == "all" else np.arange(len(mask)) < len(mask) - 1
            np.testing.assert_array_equal(mask, expected)

    def test_gradients_end_with_the_last_target(self):
        self.record("--sensitivity", 4, "--sensitivity-targets", "question", prompts=self.prompts(CONTEXT))
        group = self.open_trace()["samples/0000/sensitivity/context"]
        last = int(np.flatnonzero(group["target_mask"]).max())
        scale = group["layers/01/scale"][()]
        self.assertTrue((scale[:, : last + 1] > 0).all())
        self.assertTrue((scale[:, last + 1 :] == 0).all())
        self.assertFalse(group["layers/01/gradient"][:, last + 1 :].any())

    def test_points_that_cannot_have_one_are_noted(self):
        outcome = self.record("--sensitivity", 4, "--sensitivity-targets", "question", prompts=self.prompts(CONTEXT))
        self.assertIn("none of its targets (question) is predicted after 'prompt'", outcome.err)
        self.assertEqual(list(self.open_trace()["samples/0000/sensitivity"]), ["context"])
        outcome = self.record("--sensitivity", 4, "--query-spans", "last:2", "--force", prompts=self.prompts(CONTEXT))
        self.assertRegex(outcome.err, r"no query is recorded at position \d+, after 'context'")
        self.assertEqual(list(self.open_trace()["samples/0000/sensitivity"]), ["prompt"])

    def test_the_time_is_said_beforehand_and_the_figures_afterwards(self):
        outcome = self.record("--sensitivity", 4)
        self.assertRegex(outcome.err, r"note: 'a': 4 sketches of its sensitivity at 'prompt' take about \d+ s\n")
        self.assertRegex(outcome.out, r"a, sensitivity at prompt: 4 sketches over 8 queries, 8 scored, in .* s\n")
        self.assertRegex(outcome.out, r"KL of the perturbed passes in nats: \S+ with 25% dropped, \S+ with 50%")

    @unittest.skipUnless(PROGRAM, "KVREPLAY_PROGRAM is not set to the path of the kvreplay program")
    def test_the_program_reads_the_trace(self):
        self.record("--sensitivity", 4, prompts=self.prompts(CONTEXT))
        inspect = subprocess.run([PROGRAM, "inspect", self.trace()], capture_output=True, text=True)
        self.assertEqual(inspect.returncode, 0, inspect.stderr)


class Refusals(SensitivityTest):
    def test_numbers_of_sketches_that_make_no_sense(self):
        for number in (1, 3, 1025, 10**12):
            self.assert_refused(self.attempt("--sensitivity", number), 2, "--sensitivity", "4 to 1024", str(number))
        for text in ("-4", "many", "4.5"):
            self.assert_refused(self.attempt(f"--sensitivity={text}"), 2, "--sensitivity", "whole number", text)

    def test_zero_is_none(self):
        self.record("--sensitivity", 0)
        self.assertNotIn("sensitivity", self.open_trace()["samples/0000"])

    def test_targets_that_cannot_be(self):
        self.assert_refused(self.attempt("--sensitivity-targets", "all"), 2, "needs --sensitivity R")
        self.assert_refused(self.attempt("--sensitivity", 4, "--sensitivity-targets", "the cat"), 2, "'the cat'")
        outcome = self.attempt("--sensitivity", 4, "--sensitivity-targets", "needle", prompts=self.prompts(CONTEXT))
        self.assert_refused(outcome, 3, "for 'a'", "no span 'needle'", "context, question")
        outcome = self.attempt("--sensitivity", 4, "--sensitivity-targets", "context", prompts=self.prompts(CONTEXT))
        self.assert_refused(outcome, 3, "'a'", "(context)", "'context'", "'prompt'")

    def test_nothing_after_the_points(self):
        outcome = self.attempt("--sensitivity", 4, "--decode", 0)
        self.assertEqual(outcome.code, 3)
        self.assertIn("no sensitivity can be recorded for 'a': it has no compression point", outcome.err)
        outcome = self.attempt("--sensitivity", 4, "--decode", 0, prompts=self.prompts(CONTEXT))
        self.assert_refused(outcome, 3, "none of its targets (decode) is predicted after 'context'")
        point = {"name": "a", "text": TEXT, "compression_points": {"end": 10_000}}
        self.assert_refused(self.attempt("--sensitivity", 4, prompts=self.prompts(point)), 3, "'end'", "outside")

    def test_gradients_that_are_not_finite(self):
        from kvreplay.recorder import sensitivity_passes

        def infinite(p, generator):
            return torch.full_like(p, torch.inf)

        with mock.patch.object(sensitivity_passes, "draw_fisher", infinite):
            outcome = self.attempt("--sensitivity", 4)
        self.assertEqual(outcome.code, 3)
        self.assertIn("output gradients hold NaN or infinity", outcome.err)
        self.assertEqual(list(self.folder.glob(self.trace().name + "*")), [])


if __name__ == "__main__":
    unittest.main()
