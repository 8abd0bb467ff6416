#!/usr/bin/env python3
"""What a scorer in Python costs beside its C++ twin: a replay inside of Python of knorm and of the same in numpy, each with
five other policies, on a synthetic trace of 4,096 tokens.

KVREPLAY_PROGRAM=build/kvreplay python tests/bench/python_scorers.py [--pairs 7]

Runs of both take turns; of each pair the ratio of the CPU times (of all threads) and of the times on the wall counts, and
medians are printed.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

import kvreplay as kr
from kvreplay.common.kvreplay_program import run_kvreplay

OTHERS = ["snapkv", "h2o", "streaming-llm", "expected-attention", "oracle"]
BUDGETS = [0.05, 0.1, 0.25, 0.5]


@kr.scorer("numpy-knorm")
def numpy_knorm(view):
    return -np.linalg.norm(view.keys, axis=-1)


def seconds(trace: Path, scorer: object, policies: list[str]) -> tuple[float, float]:
    """Of the CPU, and on the wall."""
    cpu, wall = time.process_time(), time.perf_counter()
    kr.replay(trace, [scorer, *policies], BUDGETS, inside=True, threads=1)
    return time.process_time() - cpu, time.perf_counter() - wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--pairs", type=int, default=7, metavar="N", help="runs of both (default: 7)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder, "trace.h5")
        run_kvreplay(["synth", "-o", str(trace), "--prompt", "4096", "--layers", "8"])
        for policies in (OTHERS, []):
            seconds(trace, "knorm", policies)  # what comes once is done, and the trace is in memory
            runs = [
                (seconds(trace, "knorm", policies), seconds(trace, numpy_knorm, policies)) for _ in range(options.pairs)
            ]
            for index, what in enumerate(("of the CPU", "on the wall")):
                twin = statistics.median(run[0][index] for run in runs)
                ratios = sorted(run[1][index] / run[0][index] for run in runs)
                print(
                    f"with {len(policies)} other policies: {twin:.2f} s {what}; in numpy "
                    f"{100 * (statistics.median(ratios) - 1):+.1f} % ({100 * (ratios[0] - 1):+.1f} to {100 * (ratios[-1] - 1):+.1f} %)"
                )


if __name__ == "__main__":
    main()
