"""Prints the medians of build/read.json, and reading a layer against plain reads on as many threads."""

import sys

from medians import read_medians


def main() -> None:
    runs = read_medians(sys.argv[1])
    rates = {}
    for name, run in runs.items():
        name, threads = name.removesuffix("/process_time/real_time").rsplit("/", 1)
        rates[name, threads] = run["bytes_per_second"]
        print(
            f"{name:40} {threads} threads {run['real_time']:8.2f} ms {run['cpu_time']:8.2f} CPU ms "
            f"{run['bytes_per_second'] / 1e9:6.2f} GB/s of the file"
        )
    for (name, threads), rate in rates.items():
        if name.startswith("read_layer"):
            ratios = (
                f"{rate / rates[plain, threads]:.0%} of {plain}"
                for plain in ("pread_small", "pread_whole", "pread_fresh")
            )
            print(f"{name}, {threads} threads: {', '.join(ratios)}")


if __name__ == "__main__":
    main()
