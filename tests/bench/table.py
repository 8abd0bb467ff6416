#!/usr/bin/env python3
"""Makes the tables of docs/performance.md of what the benchmarks wrote: build/peers.json, build/bench.json and the like.

python3 tests/bench/table.py build/peers.json build/bench.json
"""

import json
import sys

from medians import read_medians


def main() -> None:
    for path in sys.argv[1:]:
        with open(path) as file:
            report = json.load(file)
        print("\n".join(google_table(path) if "benchmarks" in report else peers_tables(report)), end="\n\n")


def google_table(path: str) -> list[str]:
    runs = read_medians(path)
    peak = runs.get("sgemm_peak", {}).get("flops")
    lines = ["| benchmark | median | |", "|---|---|---|"]
    for name, run in runs.items():
        time = run["real_time" if name.endswith("real_time") else "cpu_time"]
        lines.append(f"| {name} | {number(time)} {run['time_unit']} | {', '.join(rates(run, peak))} |")
    return lines


def rates(run: dict, peak: float | None) -> list[str]:
    """What a run tells besides its time; the share of the matrix rate that the same file holds."""
    texts = []
    if "flops" in run:
        texts.append(f"{number(run['flops'] / 1e9)} GFLOP/s")
        if peak and run["flops"] != peak:
            texts.append(f"{run['flops'] / peak:.0%} of sgemm on one thread")
    if "bytes_per_second" in run:
        texts.append(f"{number(run['bytes_per_second'] / 1e9)} GB/s")
    if "peak_bytes" in run:
        texts.append(f"{number(run['peak_bytes'] / 1e6)} MB at most")
    return texts


def peers_tables(report: dict) -> list[str]:
    lines = [f"{report['machine']}, load {report['load']:.1f}, {report['threads']} threads, PyTorch {report['torch']}"]
    for trace in report["traces"]:
        rates = ", ".join(f"{name} {value:.0f}" for name, value in trace["gflops"].items())
        n_layers = len(trace["layers"])
        lines += [
            "",
            f"{trace['point']:,} tokens, {trace['queries']:,} evaluation queries, {len(trace['policies'])} policies x "
            f"{len(trace['kept'])} budgets, a layer (mean of {n_layers}); GFLOP/s: {rates}; results agree to "
            f"{max(trace['deviations'].values()):.0e}",
            "",
            "| | median (range) | times as long as kvreplay (range) |",
            "|---|---|---|",
            *(row_line(row, "ms") for row in trace["rows"]),
        ]
        if "kvpress" in trace:
            lines += [row_line(row, "s") for row in trace["kvpress"]["rows"]]
    return lines


def row_line(row: dict, unit: str) -> str:
    ratio = f"{number(row['ratio'])} ({numbers(row['ratio_range'])})" if "ratio" in row else ""
    return f"| {row['label']} | {number(row['time'])} {unit} ({numbers(row['time_range'])}) | {ratio} |"


def number(value: float) -> str:
    """Three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def numbers(values: list[float]) -> str:
    return " to ".join(number(value) for value in values)


if __name__ == "__main__":
    main()
