#!/usr/bin/env python3
"""Makes the README's tables of what the benchmarks wrote: build/peers.json, build/bench.json and the like.

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
    lines = ["| benchmark | median |", "|---|---|"]
    runs = read_medians(path)
    return lines + [f"| {name} | {number(run['cpu_time'])} {run['time_unit']} |" for name, run in runs.items()]


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
