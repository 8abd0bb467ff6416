"""The reference policies have the properties that their papers prove, and the traps of their papers' codes.

    cd tests/golden && python3 -m unittest reference_formulas_test

Needs h5py and numpy.
"""

import unittest
from pathlib import Path

import numpy as np

from tests.golden import reference_scorers as scorers
from tests.golden.reference_allocators import split, three_means
from tests.golden.reference_trace import Layer, read_trace

FOLDER = Path(__file__).resolve().parent


class ReferenceFormulasTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.layer: Layer = read_trace(FOLDER / "random.h5")[1]

    def test_caote_is_the_change_of_the_output_when_one_token_is_evicted(self):
        layer, token, head = self.layer, 57, 1
        values = layer.values[head // layer.group_size]
        weights = layer.attention[head, -1]
        without = weights.copy()
        without[token] = 0
        change = np.linalg.norm(without @ values / without.sum() - weights @ values)
        one_head = Layer(
            layer.queries[head : head + 1],
            layer.keys[:1],
            layer.values[:1],
            layer.projection[head : head + 1],
            layer.block_cosine,
            layer.inv_freq,
            layer.scale,
        )
        self.assertAlmostEqual(scorers.caote(one_head).scores[0, token], change, places=12)

    def test_capkv_ranks_by_the_capacity_lost_with_one_token(self):
        # L(all) - L(all without i) = -1/2 log(1 - w_i u_i^T A^-1 u_i) (matrix determinant lemma).
        random = np.random.default_rng(1)
        vectors, weights = random.standard_normal((14, 5)), random.random(14)

        def capacity(kept: np.ndarray) -> float:
            matrix = np.eye(5) + (vectors[kept] * weights[kept, None]).T @ vectors[kept]
            return np.linalg.slogdet(matrix)[1] / 2

        scores = weights * scorers.leverage(vectors, weights)
        everyone = np.arange(14)
        for token in everyone:
            lost = capacity(everyone) - capacity(np.delete(everyone, token))
            self.assertAlmostEqual(-np.log(1 - scores[token]) / 2, lost, places=12)

    def test_averages_count_the_zeros_beyond_the_ends_and_maxima_do_not(self):
        np.testing.assert_allclose(scorers.pool(np.ones(6), 5, "average"), [0.6, 0.8, 1, 1, 0.8, 0.6])
        np.testing.assert_allclose(scorers.pool(-np.ones(6), 5, "maximum"), -np.ones(6))

    def test_r_kv_spares_the_latest_copy(self):
        # Tokens 0, 2 and 3 are copies: 0 and 2 spare 3 and charge each other; 3 spares 2.
        keys = np.array([[1.0, 0], [0, 1], [1, 0], [1, 0]])
        redundancy = scorers.redundancy(keys, threshold=0.5)
        charged = np.array([2, 0, 1, 0]) / 4  # column means
        np.testing.assert_allclose(redundancy, np.exp(charged) / np.exp(charged).sum(), atol=1e-7)

    def test_r_kv_attends_to_the_tokens_before_the_window_only(self):
        attention_alone = scorers.r_kv(self.layer, weight=1).scores[:, :-8]
        self.assertGreater(attention_alone.sum(), scorers.snapkv(self.layer, window=8).scores[:, :-8].sum())

    def test_defensive_scores_never_fall_below_their_mean_worst_case(self):
        scores = scorers.defensive(self.layer).scores[:, :-32]
        for row in scores:
            self.assertGreater((row == row.min()).sum(), 1)  # the floor

    def test_budgets_above_a_cap_go_to_the_others_in_proportion(self):
        # 10 by 1:1:2 is 2.5, 2.5, 5; the cap of 4 leaves 6 for the first two.
        np.testing.assert_array_equal(split(np.array([1.0, 1, 2]), 10, 4), [3, 3, 4])
        # 7 by thirds: the largest remainder is the first of equal ones.
        np.testing.assert_array_equal(split(np.ones(3), 7, 7), [3, 2, 2])

    def test_three_means_cuts_the_line_where_the_spread_is_least(self):
        np.testing.assert_array_equal(three_means(np.array([0.9, 0.1, 0.52, 0.5, 0.11])), [2, 0, 1, 1, 0])

    def test_kept_tokens_are_sinks_then_newest_then_the_best(self):
        scored = scorers.Scored(np.array([[0.0, 5, 4, 3, 2, 1]]), sinks=1, recent_share=0.5)
        order = scored.in_order(4, above=11)
        np.testing.assert_array_equal(scorers.top(order, 4), [[True, True, False, False, True, True]])


if __name__ == "__main__":
    unittest.main()
