"""Reads what Google Benchmark wrote."""

import json


def read_medians(path: str) -> dict[str, dict]:
    """Runs by name, as their median over the repetitions: `cpu_time` in ms, and counters."""
    with open(path) as file:
        report = json.load(file)
    return {run["run_name"]: run for run in report["benchmarks"] if run.get("aggregate_name") == "median"}
