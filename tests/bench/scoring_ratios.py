"""Prints the medians of build/scoring.json, dearest first, and scoring against attending."""

import sys

from medians import read_medians


def main() -> None:
    median = {name: run["cpu_time"] for name, run in read_medians(sys.argv[1]).items()}
    for name, milliseconds in sorted(median.items(), key=lambda item: -item[1]):
        print(f"{name:36} {milliseconds:10.2f} ms")
    alone = sum(time for name, time in median.items() if name.startswith("score/"))
    print(f"each policy alone / all together: {alone / median['score_all']:.1f}")
    print(f"scoring of all / attention passes of all: {median['score_all'] / median['attend_all']:.2f}")


if __name__ == "__main__":
    main()
