"""The information metrics equal float64 numpy on the real trace that is shipped, W_O multiplied out.

    KVREPLAY_PROGRAM=build/kvreplay python3 -m pytest tests/golden/information_test.py

Needs h5py and numpy.
"""

from __future__ import annotations

import subprocess
import tempfile
import unittest
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from tests.golden.program_sets import FOLDER, PROGRAM

TRACE = FOLDER.parents[1] / "traces/examples/smollm2-needle.h5"
LAYER = 11
POLICIES = ["snapkv", "capkv", "ada-snapkv"]
BUDGETS = [0.02, 0.3, 1]
# Eigenvalues of mutual_information's signal reach 10^9 and more; what float64 leaves of those around 1 is this.
TOLERANCE = 1e-7


@dataclass
class Method:
    """Parameters as the program has them, without anchor=prompt (RoPE): that is tested in C++."""

    weight: str = "cosine"
    tau: float = 5
    covariance: bool = False
    each: bool = False
    projected: bool = False
    noise: float | None = 1  # None: the signal's power


@dataclass
class Head:
    """One KV head: what is up for eviction, and the channels that ask, as (queries, W_O) of one or of all query heads."""

    keys: np.ndarray  # [n, head_dim]
    values: np.ndarray  # [n, value_dim]
    queries: np.ndarray  # [group_size, n_evaluation, head_dim]
    projection: np.ndarray  # [group_size, value_dim, hidden_size]
    scale: float

    def nats(self, retained: np.ndarray, signal, method: Method) -> float:
        """Mean over channels of 1/2 log det(I + X / noise) for the tokens in the mask `retained`."""
        if not retained.any():
            return 0
        heads = [[h] for h in range(len(self.queries))] if method.each else [list(range(len(self.queries)))]
        nats = []
        for group in heads:
            queries = self.queries[group].reshape(-1, self.queries.shape[-1])
            mean = queries.mean(axis=0)
            moment = queries.T @ queries / len(queries) - method.covariance * np.outer(mean, mean)
            outputs = self.values
            if method.projected:
                outputs = np.concatenate([self.values @ self.projection[h] for h in group], axis=1) / len(group) ** 0.5
            noise = method.noise
            if noise is None:
                everything = np.ones(len(retained), dtype=bool)
                full, n_signals = signal(self, everything, outputs, mean, moment, method)
                noise = np.trace(full) / (n_signals * self.values.shape[1])
            matrix, _ = signal(self, retained, outputs, mean, moment, method)
            sign, log_det = np.linalg.slogdet(np.eye(len(matrix)) + matrix / noise)
            assert sign == 1
            nats.append(log_det / 2)
        return float(np.mean(nats))


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def capacity(head: Head, retained, outputs, mean, moment, method: Method):
    products = head.keys @ mean
    attention = softmax(head.scale * products)
    spread = np.einsum("id,de,ie->i", head.keys, moment, head.keys)
    if method.weight == "cosine":
        products = products / np.linalg.norm(head.keys, axis=1) / np.linalg.norm(mean)
    weights = {
        "softmax": attention,
        "quadratic": spread,
        "jacobian": (head.scale * attention * (1 - attention)) ** 2 * spread,
    }.get(method.weight, np.exp(method.tau * (products - products.max())))
    kept = outputs[retained]
    return (kept * weights[retained, None]).T @ kept, len(head.keys)


def mutual_information(head: Head, retained, outputs, mean, moment, method: Method):
    linear = outputs[retained].T @ head.keys[retained]
    return linear @ moment @ linear.T, 1


def jacobian_information(head: Head, retained, outputs, mean, moment, method: Method):
    keys, kept = head.keys[retained], outputs[retained]
    attention = softmax(head.scale * (keys @ mean))
    jacobian = head.scale * (kept.T * attention) @ (keys - attention @ keys)
    return jacobian @ moment @ jacobian.T, 1


METRICS = {
    "capacity": (capacity, Method()),
    "capacity:weight=dot,tau=0.05": (capacity, Method(weight="dot", tau=0.05)),
    "capacity:weight=softmax,noise=signal": (capacity, Method(weight="softmax", noise=None)),
    "capacity:weight=quadratic,heads=each,noise=100": (capacity, Method(weight="quadratic", each=True, noise=100)),
    "capacity:weight=jacobian,moment=covariance": (capacity, Method(weight="jacobian", covariance=True)),
    "capacity:vectors=projected": (capacity, Method(projected=True)),
    "mutual_information": (mutual_information, Method()),
    "mutual_information:noise=signal": (mutual_information, Method(noise=None)),
    "mutual_information:heads=each,vectors=projected": (mutual_information, Method(each=True, projected=True)),
    "jacobian_information": (jacobian_information, Method(covariance=True)),
    "jacobian_information:noise=signal": (jacobian_information, Method(covariance=True, noise=None)),
    "jacobian_information:moment=second,heads=each": (jacobian_information, Method(each=True)),
}


def read_heads(path: Path, layer: int) -> list[Head]:
    with h5py.File(path) as file:
        sample = file["samples/0000"]
        n = int(sample.attrs["decode_start"])
        group = sample[f"layers/{layer:02}"]
        positions = np.concatenate([np.arange(begin, end) for begin, end in sample["query_ranges"][()]])
        queries = group["queries"][()].astype(np.float64)[:, positions >= n]
        keys, values = (group[name][:, :n].astype(np.float64) for name in ("keys", "values"))
        projection = file[f"model/layers/{layer:02}/output_projection"][()].astype(np.float64)
        projection = projection.reshape(len(queries), values.shape[-1], -1)
        size = len(queries) // len(keys)
        return [
            Head(
                keys[g],
                values[g],
                queries[g * size : (g + 1) * size],
                projection[g * size : (g + 1) * size],
                float(file.attrs["softmax_scale"]),
            )
            for g in range(len(keys))
        ]


@unittest.skipIf(PROGRAM is None, "KVREPLAY_PROGRAM is not set")
class InformationTest(unittest.TestCase):
    def test_metrics_on_the_shipped_trace(self):
        with tempfile.TemporaryDirectory(prefix="kvreplay-test-") as folder:
            results, sets = Path(folder) / "results.h5", Path(folder) / "sets.h5"
            command = [Path(PROGRAM).resolve(), "replay", TRACE, "-o", results, "--save-retained", sets, "--quiet"]
            command += ["--compression-point", "prompt", "--layer", str(LAYER), "--policy", ",".join(POLICIES)]
            command += ["--budget", ",".join(map(str, BUDGETS)), "--metric", ",".join(METRICS)]
            subprocess.run(list(map(str, command)), check=True)
            heads = read_heads(TRACE, LAYER)
            with h5py.File(sets) as file:
                retained = file[f"samples/0000/prompt/layers/{LAYER:02}/retained"]
                masks = {policy: retained[policy][()].astype(bool) for policy in POLICIES}
            with h5py.File(results) as file:
                found = {name: (file[f"{name}_numerator"][0, 0], file[f"{name}_denominator"][0, 0]) for name in METRICS}
        for name, (signal, method) in METRICS.items():
            numerators, denominators = found[name]
            for g, head in enumerate(heads):
                everything = head.nats(np.ones(len(head.keys), dtype=bool), signal, method)
                self.assertAlmostEqual(denominators[g] / everything, 1, delta=TOLERANCE, msg=name)
                for p, policy in enumerate(POLICIES):
                    for b in range(len(BUDGETS)):
                        with self.subTest(metric=name, policy=policy, head=g, budget=BUDGETS[b]):
                            expected = head.nats(masks[policy][b, g], signal, method)
                            self.assertAlmostEqual(numerators[g, p, b] / expected, 1, delta=TOLERANCE)


if __name__ == "__main__":
    unittest.main()
