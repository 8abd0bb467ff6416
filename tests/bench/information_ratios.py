"""Prints the medians of build/information.json, and what the information metrics add."""

import sys

from medians import read_medians


def main() -> None:
    median = {name: run["cpu_time"] for name, run in read_medians(sys.argv[1]).items()}
    for name, milliseconds in median.items():
        group, variant = name.split("/")
        without = median[f"{group}/without"]
        added = "" if variant == "without" else f"  +{milliseconds / without - 1:.0%}"
        print(f"{name:32} {milliseconds:10.2f} ms{added}")


if __name__ == "__main__":
    main()
