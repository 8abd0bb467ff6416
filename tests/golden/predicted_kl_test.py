"""Predictions of the model's loss equal float64 numpy: on a synthetic trace and on the shipped one that has all layers.

    KVREPLAY_PROGRAM=build/kvreplay python3 -m pytest tests/golden/predicted_kl_test.py

The program says which tokens it retains; everything from the attention logits on is computed here again.
Needs h5py and numpy.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import h5py
import numpy as np

from tests.golden.program_sets import FOLDER, PROGRAM
from tests.golden.reference_trace import softmax

SHIPPED = FOLDER.parents[1] / "traces/examples/smollm2-all-layers.h5"
POLICIES = ["snapkv:window=32", "knorm", "ada-snapkv:window=32"]
BUDGETS = [0.1, 0.3, 0.6]
TOLERANCE = 1e-4


class Prediction:
    """s[r, t], by policy and budget, of one sample at one compression point, and what follows from it."""

    def __init__(self, trace: h5py.File, sets: h5py.File, sample: str, point: str, labels: list[str]):
        self.sensitivity = trace[f"samples/{sample}/sensitivity/{point}"]
        self.parts = {
            int(layer): {label: self.of_layer(trace, sample, layer, group[f"retained/{label}"]) for label in labels}
            for layer, group in sets[f"samples/{sample}/{point}/layers"].items()
        }
        self.sums = {label: sum(layer[label] for layer in self.parts.values()) for label in labels}
        self.m = int(self.sensitivity["target_mask"][()].sum())
        self.level = self.sensitivity["level"][()]
        self.factors = self.of_passes()

    def of_passes(self) -> np.ndarray | None:
        """[n_queries], from what the drop passes lost; None where the trace does not say."""
        if "position_kl" not in self.sensitivity:
            return None
        lost, form = (self.sensitivity[f"position_{name}"][()].astype(np.float64) for name in ("kl", "quadratic"))
        scored = self.sensitivity["target_mask"][()].astype(bool)
        return np.where(scored, (lost.sum(axis=0) + len(lost) / 12) / (form.sum(axis=0) + len(form) / 12), 1)

    def relative_error(self) -> float:
        """How well the factors of all other passes foretell a pass."""
        if self.factors is None:
            return 0.4
        lost, form = (self.sensitivity[f"position_{name}"][()].astype(np.float64) for name in ("kl", "quadratic"))
        scored = self.sensitivity["target_mask"][()].astype(bool)
        errors = []
        for d in range(len(lost)):
            rest = np.arange(len(lost)) != d
            factors = (lost[rest] + 1 / 12).sum(axis=0) / (form[rest] + 1 / 12).sum(axis=0)
            errors.append(np.log((np.where(scored, factors, 1) * form[d]).sum() / lost[d, scored].sum()))
        return float(np.sqrt(np.mean(np.square(errors))))

    def weights(self, sums: np.ndarray) -> np.ndarray:
        """What the quadratic form at each query is multiplied with: [n_budgets, 1, n_queries]."""
        if self.factors is not None:
            return np.broadcast_to(self.factors, (len(sums), 1, len(self.factors)))
        form = (sums**2).mean(axis=1, keepdims=True) / 2
        root = np.sqrt(2 * form)
        bounded = np.logaddexp(root, -root) - np.log(2)
        return np.divide(bounded, form, out=np.ones_like(form), where=form > 1e-12)

    def of_layer(self, trace: h5py.File, sample: str, layer: str, retained: h5py.Dataset) -> np.ndarray:
        """[n_budgets, n_sketches, n_queries]"""
        group = trace[f"samples/{sample}/layers/{layer}"]
        queries, keys, values = (group[name][()].astype(np.float64) for name in ("queries", "keys", "values"))
        ranges = trace[f"samples/{sample}/query_ranges"][()]
        positions = np.concatenate([np.arange(begin, end) for begin, end in ranges])
        c = retained.shape[2]  # full attention: everything before the point is up for eviction
        queries, positions = queries[:, positions >= c], positions[positions >= c]
        gradient = self.sensitivity[f"layers/{layer}/gradient"][()].astype(np.float64)
        gradient *= self.sensitivity[f"layers/{layer}/scale"][()].astype(np.float64)[..., None]
        n_q, group_size = len(queries), len(queries) // len(keys)
        gradient = gradient.reshape(*gradient.shape[:2], n_q, -1)
        kept = retained[()].astype(bool)  # [n_budgets, n_heads, c]
        sums = np.zeros((len(kept), len(gradient), len(positions)))
        for h in range(n_q):
            logits = queries[h] @ keys[h // group_size].T * float(trace.attrs["softmax_scale"])
            logits[np.arange(logits.shape[1]) > positions[:, None]] = -np.inf
            full = softmax(logits) @ values[h // group_size]
            for b, of_budget in enumerate(kept):
                evicted = ~of_budget[h if kept.shape[1] == n_q else h // group_size]
                some = logits.copy()
                some[:, : len(evicted)][:, evicted] = -np.inf
                error = softmax(some) @ values[h // group_size] - full
                sums[b] += np.einsum("rtd,td->rt", gradient[:, :, h], error)
        return sums

    def values(self, label: str) -> dict[str, np.ndarray]:
        """By metric: [n_budgets], or [n_layers, n_budgets]."""
        sums = self.sums[label]
        weights = self.weights(sums)
        of_sketch = (weights * sums**2).sum(axis=2) / (2 * self.m)
        n = of_sketch.shape[1]
        contributions = [
            (weights * sums * layer[label]).sum(axis=(1, 2)) / (2 * self.m * n) for layer in self.parts.values()
        ]
        clean = (sums[:, self.level == 0] ** 2).sum(axis=2) / (2 * self.m)
        return {
            "predicted_kl": of_sketch.mean(axis=1),
            "predicted_kl_clean": clean.mean(axis=1),
            "predicted_kl_standard_error": np.hypot(
                of_sketch.std(axis=1, ddof=1) / np.sqrt(n), self.relative_error() * of_sketch.mean(axis=1)
            ),
            "predicted_kl_layer_contribution": np.array(contributions),
        }


@unittest.skipUnless(PROGRAM, "KVREPLAY_PROGRAM does not name the program")
class PredictedKlTest(unittest.TestCase):
    def check(self, trace: Path) -> float:
        """Returns the largest relative difference."""
        with tempfile.TemporaryDirectory() as folder:
            results, sets = Path(folder, "r.h5"), Path(folder, "s.h5")
            command = [Path(PROGRAM).resolve(), "replay", str(trace), "-o", str(results), "--save-retained", str(sets)]
            command += ["-b", ",".join(map(str, BUDGETS)), "--quiet", "-m"]
            command += ["predicted_kl,predicted_kl_clean,predicted_kl_standard_error,predicted_kl_layer_contribution"]
            for policy in POLICIES:
                command += ["-p", policy]
            subprocess.run(command, check=True)
            worst = 0.0
            with h5py.File(trace) as file, h5py.File(results) as found, h5py.File(sets) as retained:
                labels = list(found["policy"].asstr()[()])
                names = [file[f"samples/{s}"].attrs["name"] for s in sorted(file["samples"])]
                for case, label in enumerate(found["case"].asstr()[()]):
                    name, point = label.rsplit("@", 1)
                    prediction = Prediction(file, retained, f"{names.index(name):04}", point, labels)
                    for p, policy in enumerate(labels):
                        expected = prediction.values(policy)
                        self.assertTrue((expected["predicted_kl"] > 0).all())
                        for metric, value in expected.items():
                            difference = np.abs(found[metric][case, ..., p, :] - value)
                            # Contributions may cancel: what counts is the sum of all.
                            scale = expected["predicted_kl"] if value.ndim == 2 else value
                            worst = max(worst, float((difference / scale).max()))
            self.assertLessEqual(worst, TOLERANCE, trace)
            return worst

    def test_synthetic_trace(self):
        with tempfile.TemporaryDirectory() as folder:
            trace = Path(folder, "t.h5")
            options = "--layers 3 --prompt 300 --question 24 --decode 40 --q-heads 6 --kv-heads 2 --head-dim 16"
            options += " --value-dim 12 --samples 2 --sensitivity 7"
            subprocess.run([PROGRAM, "synth", "-o", str(trace), *options.split()], check=True, capture_output=True)
            self.check(trace)

    @unittest.skipUnless(SHIPPED.exists(), f"{SHIPPED.name} is not there")
    def test_shipped_trace(self):
        self.check(SHIPPED)

    @unittest.skipUnless(SHIPPED.exists(), f"{SHIPPED.name} is not there")
    def test_the_shipped_trace_shows_the_metric_where_it_holds(self):
        # At the demo's budgets: all but a few predictions lie below the largest loss of a recorded pass, and a policy
        # that keeps the answer loses less with a larger budget.
        with tempfile.TemporaryDirectory() as folder:
            results = Path(folder, "r.h5")
            options = ["-p", "default", "-b", "0.15:1:8", "-m", "predicted_kl", "--quiet", "-o", str(results)]
            subprocess.run([PROGRAM, "replay", str(SHIPPED), *options], check=True)
            with h5py.File(results) as file:
                predicted = file["predicted_kl"][0]  # [n_policies, n_budgets]
                limit = file["sensitivity_range"][0]
                labels = list(file["policy"].asstr()[()])
        self.assertGreater(len(labels), 20)
        self.assertLessEqual((predicted > limit).mean(), 0.05)
        for policy in ["snapkv", "ada-snapkv", "tova", "lava", "cake", "r-kv"]:
            self.assertTrue((np.diff(predicted[labels.index(policy)]) < 0).all(), policy)


if __name__ == "__main__":
    if len(sys.argv) > 1 and Path(sys.argv[1]).exists():
        for path in map(Path, sys.argv[1:]):
            print(path, f"largest relative difference {PredictedKlTest().check(path):.2e}")
    else:
        unittest.main()
