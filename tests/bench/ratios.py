"""Prints the medians of build/bench.json and the ratios between them."""

import sys

from medians import read_medians


def main() -> None:
    runs = read_medians(sys.argv[1])
    median = {name: run["cpu_time"] for name, run in runs.items()}
    peak = runs["sgemm_peak"]["flops"]
    for name, milliseconds in median.items():
        print(f"{name:24} {milliseconds:10.2f} ms")
    # A pass over 4096 tokens for 9 heads x 96 queries of size 64 is 2 x 4192 x 864 x 64 operations.
    flops = 2 * 4192 * 864 * 64
    per_policy = (median["replay_policies/30"] - median["replay_policies/10"]) / 20
    print(
        f"sgemm, one thread: {peak / 1e9:.1f} GFLOP/s; "
        f"a further policy at 16 budgets: {per_policy:.2f} ms = {flops / per_policy / 1e6 / (peak / 1e9):.0%} of that rate"
    )
    print(f"16 budgets / the largest alone: {median['replay_budgets/16'] / median['replay_budgets/1']:.2f}")
    print(f"64 budgets / the largest alone: {median['replay_budgets/64'] / median['replay_budgets/1']:.2f}")
    print(f"10 policies x 16 budgets, one by one / replay: {median['one_by_one'] / median['replay_policies/10']:.1f}")


if __name__ == "__main__":
    main()
