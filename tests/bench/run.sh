#!/usr/bin/env bash
# Builds the benchmarks, runs each several times and prints the ratios that docs/performance.md quotes. Quote them with the machine.
set -euo pipefail
cd "$(dirname "$0")/../.."
source tools/install_dependencies.sh
install_packages doctest-dev libbenchmark-dev python3
cmake --preset release -DKVREPLAY_TESTS=ON >/dev/null
cmake --build build --target kvreplay_bench
build/kvreplay_bench --benchmark_repetitions="${1:-7}" --benchmark_enable_random_interleaving=true \
  --benchmark_report_aggregates_only=true --benchmark_out=build/bench.json --benchmark_out_format=json >/dev/null
python3 tests/bench/ratios.py build/bench.json
