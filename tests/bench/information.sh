#!/usr/bin/env bash
# What the information metrics add to a replay of 10 policies x 16 budgets with all other metrics, on a recorded trace
# (for one of 3k tokens see scoring.sh):
#   bash tests/bench/information.sh TRACE [REPETITIONS]
# "methods" are ten of the literature, scored and replayed; "random" are ten rankings that cost nothing to make.
set -euo pipefail
cd "$(dirname "$0")/../.."
source tools/install_dependencies.sh
install_packages doctest-dev libbenchmark-dev python3
cmake --preset release -DKVREPLAY_TESTS=ON >/dev/null
cmake --build build --target kvreplay_information_bench
build/kvreplay_information_bench "$1" --benchmark_repetitions="${2:-7}" --benchmark_enable_random_interleaving=true \
  --benchmark_report_aggregates_only=true --benchmark_out=build/information.json --benchmark_out_format=json |
  grep "policies x"
python3 tests/bench/information_ratios.py build/information.json
