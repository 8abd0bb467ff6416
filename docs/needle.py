"""Draws docs/needle.svg, the picture of the README: six policies replayed on the shipped trace.

python3 -m pip install '.[docs]' && python3 docs/needle.py build/kvreplay
"""

import csv
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

ROOT = Path(__file__).resolve().parents[1]
TRACE = ROOT / "traces/examples/smollm2-needle.h5"
POLICIES = ["random", "knorm", "snapkv", "h2o", "streaming-llm", "oracle"]
COLOURS = ["#999999", "#e69f00", "#d55e00", "#0072b2", "#009e73", "#000000"]  # told apart by the colour-blind too


def curves(program: str) -> dict[str, list[tuple[float, float]]]:
    """output_error at the fraction really kept, by policy."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.h5"
        subprocess.run(
            [program, "replay", TRACE, "--compression-point", "prompt", "-p", ",".join(POLICIES), "-o", results, "-q"],
            check=True,
        )
        table = subprocess.run(
            [program, "compare", results, "--metric", "output_error", "--csv", "-"],
            check=True,
            capture_output=True,
            text=True,
        )
    points = defaultdict(list)
    for row in csv.DictReader(table.stdout.splitlines()):
        if row["metric"] == "output_error":
            points[row["policy"]].append((float(row["kept_fraction"]), float(row["value"])))
    return points


def draw(points: dict[str, list[tuple[float, float]]], path: Path) -> None:
    # The same numbers give the same file: no date, no random names. Text stays text.
    plt.rcParams.update(
        {"svg.hashsalt": "needle", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10}
    )
    figure, axes = plt.subplots(figsize=(7.2, 3.4), layout="constrained")
    for policy, colour in zip(POLICIES, COLOURS, strict=True):
        kept, error = zip(*sorted(points[policy]), strict=True)
        axes.plot(kept, error, marker=".", color=colour, linestyle="--" if policy == "oracle" else "-", label=policy)
    axes.set(
        xscale="log",
        xlabel="share of the cache kept",
        ylabel="relative error of the attention output",
        title="SmolLM2-135M, 1,240 tokens with a needle: six policies, sixteen budgets",
        ylim=(0, None),
    )
    axes.title.set_fontsize(10)
    axes.set_xticks([0.02, 0.05, 0.1, 0.2, 0.5, 1], ["2 %", "5 %", "10 %", "20 %", "50 %", "100 %"])
    axes.minorticks_off()
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None, "Creator": "docs/needle.py"}, facecolor="white")


if __name__ == "__main__":
    draw(curves(sys.argv[1]), ROOT / "docs/needle.svg")
