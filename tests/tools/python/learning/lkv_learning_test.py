"""Features, targets, losses and errors of kvreplay.learning, against arithmetic by hand and float64 NumPy."""

import json
import math
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

import numpy as np
import torch

from kvreplay.common.rotary_embedding import Rope
from kvreplay.learning.attention import future_attention
from kvreplay.learning.features import remove_rope, token_features
from kvreplay.learning.held_out import keep_best
from kvreplay.learning.identity import file_fingerprint
from kvreplay.learning.listwise import Schedule, instance_order, listwise_loss
from kvreplay.learning.networks import LayerNetworks
from kvreplay.learning.retained_outputs import DecodeAttention, projection_factor
from kvreplay.learning.soft_topk import soft_top_k
from kvreplay.learning.trace_input import LayerTensors, ModelShape

PROGRAM = os.environ["KVREPLAY_PROGRAM"]


def shape_of(n_q_heads=2, n_kv_heads=1, head_dim=1, value_dim=1, scale=1.0, softcap=0.0):
    return ModelShape("m", 1, (0,), n_q_heads, n_kv_heads, head_dim, value_dim, scale, softcap)


def layer_of(queries, keys, values, positions, window_queries=None, sliding_window=0, rope=None):
    queries = torch.as_tensor(queries, dtype=torch.float32)
    empty = torch.zeros(queries.shape[0], 0, queries.shape[2])
    return LayerTensors(
        queries=queries,
        keys=torch.as_tensor(keys, dtype=torch.float32),
        values=torch.as_tensor(values, dtype=torch.float32),
        positions=torch.as_tensor(positions),
        window_queries=empty if window_queries is None else torch.as_tensor(window_queries, dtype=torch.float32),
        sliding_window=sliding_window,
        rope=rope,
    )


class TargetTest(unittest.TestCase):
    # Keys are logarithms of weights: a query of 1 gives each token attention in proportion to them, one of 0 the same.
    KEYS = [[[math.log(w)] for w in (1, 2, 5, 2)]]

    def test_future_attention_is_the_mean_over_queries_and_heads_of_the_group(self):
        # Prompt: tokens 0 and 1; queries at 2 and 3. Head 0 asks with 1, head 1 with 0.
        layer = layer_of([[[1], [1]], [[0], [0]]], self.KEYS, [[[0]] * 4], [2, 3])
        # Head 0: at 2 the weights 1 2 5 sum to 8, at 3 with the last 2 to 10. Head 1: thirds, quarters.
        expected_0 = (1 / 8 + 1 / 10 + 1 / 3 + 1 / 4) / 4
        expected_1 = (2 / 8 + 2 / 10 + 1 / 3 + 1 / 4) / 4
        found = future_attention(layer, 2, shape_of())
        self.assertEqual(found.shape, (1, 2))
        self.assertAlmostEqual(float(found[0, 0]), expected_0, places=6)
        self.assertAlmostEqual(float(found[0, 1]), expected_1, places=6)

    def test_a_sliding_window_hides_what_lies_before_it(self):
        # Window 2: the query at 2 sees 1 and 2, that at 3 sees 2 and 3. Only head 0 and 1 at position 2 see token 1.
        layer = layer_of([[[1], [1]], [[0], [0]]], self.KEYS, [[[0]] * 4], [2, 3], sliding_window=2)
        found = future_attention(layer, 2, shape_of())
        self.assertEqual(float(found[0, 0]), 0)
        self.assertAlmostEqual(float(found[0, 1]), (2 / 7 + 1 / 2) / 4, places=6)

    def test_a_softcap_bends_the_logits(self):
        layer = layer_of([[[1]], [[1]]], [[[3], [0], [0]]], [[[0]] * 3], [2])
        weight = math.exp(2 * math.tanh(3 / 2))
        found = future_attention(layer, 2, shape_of(softcap=2.0))
        self.assertAlmostEqual(float(found[0, 0]), weight / (weight + 2), places=6)

    def test_long_decodes_are_summed_in_parts(self):
        generator = torch.Generator().manual_seed(1)
        n, shape = 300, shape_of(n_q_heads=4, n_kv_heads=2, head_dim=3)
        keys = torch.randn(2, 10 + n, 3, generator=generator)
        queries = torch.randn(4, n, 3, generator=generator)
        found = future_attention(layer_of(queries, keys, keys, np.arange(10, 10 + n)), 10, shape)
        expected = np.zeros((2, 10))
        for head in range(4):
            for row in range(n):
                logits = keys[head // 2, : 11 + row].double().numpy() @ queries[head, row].double().numpy()
                weights = np.exp(logits - logits.max())
                expected[head // 2] += weights[:10] / weights.sum() / n / 2
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)


class FeatureTest(unittest.TestCase):
    def rotated(self, plain, rope):
        """Keys [n, head_dim] at positions 0, 1, ... turned in float64, pair by pair."""
        turned = plain.copy()
        n_pairs = len(rope.inv_freq)
        for position in range(len(plain)):
            for pair in range(n_pairs):
                a, b = (pair, pair + n_pairs) if rope.layout == "half" else (2 * pair, 2 * pair + 1)
                angle = position * float(rope.inv_freq[pair])
                x, y = plain[position, a], plain[position, b]
                turned[position, a] = rope.attention_scaling * (math.cos(angle) * x - math.sin(angle) * y)
                turned[position, b] = rope.attention_scaling * (math.sin(angle) * x + math.cos(angle) * y)
        return turned

    def test_rope_is_taken_off_in_both_layouts_and_only_where_it_turns(self):
        plain = np.random.default_rng(1).normal(size=(20, 6))
        for layout in ("half", "interleaved"):
            for scaling in (1.0, 1.4):
                # 4 of the 6 dimensions turn; frequencies that float32 holds exactly
                rope = Rope(layout, torch.tensor([1.0, 0.25], dtype=torch.float64), scaling)
                keys = torch.from_numpy(self.rotated(plain, rope)).float()[None]
                found = remove_rope(keys, rope)[0].numpy()
                np.testing.assert_allclose(found[:, :4], plain[:, :4], atol=1e-5)
                np.testing.assert_allclose(found[:, 4:], plain[:, 4:], atol=1e-6)
        self.assertIs(remove_rope(keys, None), keys)

    def test_features_stand_in_the_order_of_their_names(self):
        # head_dim 2, value_dim 1; token 2 of a prompt of 4: key (3, 4), value -2.
        keys = [[[1, 0], [0, 1], [3, 4], [1, 1], [9, 9]]]
        values = [[[1], [1], [-2], [1], [9]]]
        layer = layer_of(np.zeros((1, 1, 2)), keys, values, [4])
        found = token_features(layer, 4, shape_of(n_q_heads=1, head_dim=2), False)
        self.assertEqual(found.shape, (1, 4, 8))
        expected = [3, 4, -2, math.log(5), math.log(2), math.log(1 + 2), math.log(4 - 2), 2 / 4]
        np.testing.assert_allclose(found[0, 2].numpy(), expected, rtol=1e-5)

    def test_zero_keys_and_values_have_finite_features(self):
        layer = layer_of(np.zeros((1, 1, 2)), np.zeros((1, 3, 2)), np.zeros((1, 3, 1)), [2])
        found = token_features(layer, 2, shape_of(n_q_heads=1, head_dim=2), False)
        self.assertAlmostEqual(float(found[0, 0, 3]), math.log(1e-6), places=4)

    def test_query_features_are_mean_attention_of_the_last_1_8_and_64_queries(self):
        # Queries of 0 see all tokens up to their own alike: the one at t gives 1 / (t + 1).
        n = 80
        layer = layer_of(np.zeros((2, 1, 1)), np.ones((1, n + 1, 1)), np.ones((1, n + 1, 1)), [n], np.zeros((2, 64, 1)))
        found = token_features(layer, n, shape_of(), True)[0]
        for column, window in zip((7, 8, 9), (1, 8, 64)):
            mean = sum(1 / (t + 1) for t in range(n - window, n)) / window
            self.assertAlmostEqual(float(found[5, column]), math.log(mean + 1e-6), places=5)


class NetworkTest(unittest.TestCase):
    def test_a_network_is_its_formula(self):
        generator = torch.Generator().manual_seed(3)
        network = LayerNetworks(2, 5, generator, n_hidden=4)
        for name in ("b1", "w2", "ws", "b", "mu"):
            getattr(network, name).data = torch.randn(getattr(network, name).shape, generator=generator)
        network.sd.data = torch.tensor([0.1, 1.0, 2.0, 3.0, 4.0]).expand(2, 5).clone()
        x = torch.randn(2, 7, 5, generator=generator)
        found = network(x).detach().numpy()
        weights = {name: value.double().numpy() for name, value in network.state_dict().items()}
        for head in range(2):
            z = (x[head].double().numpy() - weights["mu"][head]) / weights["sd"][head]
            z = np.clip(z, -8, 8)
            self.assertTrue((np.abs(z) == 8).any())  # the first feature is clamped somewhere
            hidden = z @ weights["w1"][head] + weights["b1"][head]
            hidden = hidden / (1 + np.exp(-hidden))
            expected = z @ weights["ws"][head] + hidden @ weights["w2"][head] + weights["b"][head]
            np.testing.assert_allclose(found[head], expected, rtol=1e-4, atol=1e-4)

    def test_an_untrained_network_has_no_linear_part(self):
        network = LayerNetworks(1, 5, torch.Generator().manual_seed(1))
        self.assertEqual(float(network.ws.detach().abs().sum()), 0)
        self.assertAlmostEqual(float(network.w1.detach().std()), 5**-0.5, delta=0.1)


class LossTest(unittest.TestCase):
    def target(self, *shares):
        """Of 4 + n + 16 tokens; those that are always kept have most of the attention, and do not count."""
        return torch.tensor([[9.0] * 4 + list(shares) + [9.0] * 16])

    def test_the_listwise_loss_is_a_cross_entropy_over_what_may_be_evicted(self):
        target = self.target(0.2, 0.1, 0.1)  # shares 1/2, 1/4, 1/4
        self.assertAlmostEqual(float(listwise_loss(torch.zeros(1, 23), target)), math.log(3), places=6)
        scores = torch.zeros(1, 23)
        scores[0, 4:7] = torch.tensor([math.log(2), 0, 0])  # softmax 1/2, 1/4, 1/4: the entropy, the least there is
        entropy = 0.5 * math.log(2) + 0.5 * math.log(4)
        self.assertAlmostEqual(float(listwise_loss(scores, target)), entropy, places=6)
        scores[0, 0] = scores[0, -1] = 1e4  # kept anyway
        self.assertAlmostEqual(float(listwise_loss(scores, target)), entropy, places=6)

    def test_no_attention_at_all_is_no_loss(self):
        self.assertEqual(float(listwise_loss(torch.randn(1, 23), self.target(0, 0, 0))), 0)

    def test_the_schedule_warms_up_and_falls_to_its_last_share(self):
        schedule = Schedule(steps=120)
        self.assertAlmostEqual(schedule.rate(0), 1 / 20)
        self.assertAlmostEqual(schedule.rate(19), 1)
        self.assertAlmostEqual(schedule.rate(70), 0.02 + 0.98 / 2, places=6)  # half way down
        self.assertAlmostEqual(schedule.rate(120), 0.02, places=6)

    def test_every_prompt_comes_once_in_each_round(self):
        order = instance_order(5, 12, seed=1)
        self.assertEqual(sorted(order[:5]), list(range(5)))
        self.assertEqual(sorted(order[5:10]), list(range(5)))
        self.assertEqual(len(order), 12)
        self.assertEqual(order, instance_order(5, 12, seed=1))
        self.assertNotEqual(order, instance_order(5, 12, seed=2))


class SoftTopKTest(unittest.TestCase):
    def test_it_keeps_k_in_all_and_the_best_ones_when_cold(self):
        scores = torch.tensor([[3.0, -1.0, 2.0, 0.0, 1.0]])
        for temperature in (1.0, 0.15):
            self.assertAlmostEqual(float(soft_top_k(scores, 2, temperature).sum()), 2, places=4)
        np.testing.assert_allclose(soft_top_k(scores, 2, 0.01)[0].numpy(), [1, 0, 1, 0, 0], atol=1e-4)

    def test_its_gradient_goes_through_the_threshold(self):
        scores = torch.tensor([[0.3, -0.1, 0.2, 0.5]], dtype=torch.float64)
        weights = torch.tensor([[1.0, 2.0, -1.0, 0.5]], dtype=torch.float64)
        leaf = scores.clone().requires_grad_()
        (soft_top_k(leaf, 1.7, 0.5) * weights).sum().backward()
        for i in range(4):
            step = torch.zeros_like(scores)
            step[0, i] = 1e-4
            high, low = ((soft_top_k(scores + sign * step, 1.7, 0.5) * weights).sum() for sign in (1, -1))
            self.assertAlmostEqual(float(leaf.grad[0, i]), float(high - low) / 2e-4, places=4)


class RetainedOutputTest(unittest.TestCase):
    def test_errors_are_those_of_attention_over_what_is_kept(self):
        generator = np.random.default_rng(5)
        shape = shape_of(n_q_heads=4, n_kv_heads=2, head_dim=3, value_dim=2)
        keys, values = generator.normal(size=(2, 9, 3)), generator.normal(size=(2, 9, 2))
        queries, positions = generator.normal(size=(4, 2, 3)), [7, 8]
        projection = generator.normal(size=(4, 2, 5))
        kept = np.array([[1, 0, 1, 0, 0, 1, 1], [0, 1, 1, 1, 0, 0, 0]])
        factor = projection_factor(torch.from_numpy(projection))
        attention = DecodeAttention(layer_of(queries, keys, values, positions), 7, shape)
        found = attention.squared_errors(torch.from_numpy(kept).float(), factor)
        for head in range(4):
            errors = []
            for row, position in enumerate(positions):
                seen = np.arange(position + 1)
                weights = np.exp(keys[head // 2, seen] @ queries[head, row])
                some = weights * np.concatenate([kept[head // 2], [1, 1]])[seen]
                full, part = (w @ values[head // 2, seen] / w.sum() for w in (weights, some))
                errors.append((((part - full) @ projection[head]) ** 2).sum())
            self.assertAlmostEqual(float(found[head]), np.mean(errors), places=4)
        everything = attention.squared_errors(torch.ones(2, 7), factor)
        self.assertLess(float(everything.max()), 1e-10)

    def test_a_projection_of_low_rank_has_a_factor(self):
        projection = torch.zeros(1, 3, 4)
        projection[0, 0] = torch.tensor([3.0, 4.0, 0.0, 0.0])  # ||d W|| = 5 |d_0|
        factor = projection_factor(projection)[0]
        self.assertAlmostEqual(float((torch.tensor([2.0, 7.0, 7.0]) @ factor).norm()), 10, places=4)

    def test_the_best_are_kept_besides_first_and_last_ones(self):
        scores = torch.arange(30).float()[None] * -1  # the earliest are best
        kept = keep_best(scores, 22)[0]
        self.assertEqual(kept.nonzero().flatten().tolist(), [0, 1, 2, 3, 4, 5, *range(14, 30)])
        self.assertEqual(int(keep_best(scores, 30).sum()), 30)
        # What does not hold all of these keeps the first ones, then the newest, as a replay does.
        self.assertEqual(keep_best(scores, 3)[0].nonzero().flatten().tolist(), [0, 1, 2])
        self.assertEqual(keep_best(scores, 7)[0].nonzero().flatten().tolist(), [0, 1, 2, 3, 27, 28, 29])


class IdentityTest(unittest.TestCase):
    def test_a_trace_has_the_fingerprint_that_kvreplay_gives_it(self):
        with tempfile.TemporaryDirectory() as folder:
            # Below a block, between a block and the ends, and above.
            for prompt in ("64", "2048", "20000"):
                path = f"{folder}/{prompt}.h5"
                options = [
                    "--prompt",
                    prompt,
                    "--decode",
                    "4",
                    "--layers",
                    "1",
                    "--needles",
                    "0",
                    "--last-queries-only",
                ]
                subprocess.run([PROGRAM, "synth", "-o", path, *options], check=True, capture_output=True)
                shown = subprocess.run([PROGRAM, "inspect", "--json", path], check=True, capture_output=True)
                self.assertEqual(file_fingerprint(Path(path)), json.loads(shown.stdout)["files"][0]["fingerprint"])


if __name__ == "__main__":
    unittest.main()
