"""How many tokens kvpress keeps of very few: what `--rounding` follows.

    pip install -c tests/constraints.txt torch transformers kvpress==VERSION
    python -m tests.golden.make_n_kept >> tests/golden/n_kept.tsv

One run for each version; the lines of a version: version, compression ratio, tokens, tokens kept (`-` where it fails).
"""

from __future__ import annotations

from importlib.metadata import version
from types import SimpleNamespace

import torch
from kvpress import KnormPress

RATIOS = [0.0, 0.1, 0.25, 0.5, 0.6, 0.7, 0.75, 0.9, 0.99, 1.0]
TOKENS = [0, 1, 2, 3, 10, 100, 1000]


def n_kept(ratio: float, n: int) -> str:
    press = KnormPress()
    press.compression_ratio = ratio
    keys = torch.rand(1, 2, n, 4)
    try:
        kept, _ = press.compress(SimpleNamespace(head_dim=4), None, keys, keys, None, {})
    except RuntimeError:  # more tokens asked for than there are
        return "-"
    return str(kept.shape[2])


if __name__ == "__main__":
    for ratio in RATIOS:
        for n in TOKENS:
            print(version("kvpress"), ratio, n, n_kept(ratio, n), sep="\t")
