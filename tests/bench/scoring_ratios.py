"""Prints the medians of build/scoring.json, dearest first, and scoring against attending."""

import json
import sys


def main() -> None:
    with open(sys.argv[1]) as file:
        report = json.load(file)
    median = {
        run["run_name"]: run["cpu_time"]
        for run in report["benchmarks"]
        if run.get("aggregate_name") == "median"
    }
    for name, milliseconds in sorted(median.items(), key=lambda item: -item[1]):
        print(f"{name:36} {milliseconds:10.2f} ms")
    alone = sum(time for name, time in median.items() if name.startswith("score/"))
    print(f"each policy alone / all together: {alone / median['score_all']:.1f}")
    print(f"scoring of all / attention passes of all: {median['score_all'] / median['attend_all']:.2f}")


if __name__ == "__main__":
    main()
