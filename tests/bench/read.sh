#!/usr/bin/env bash
# What reading a layer costs, against plain reads of the same bytes into memory that is used again (pread_small: 1 MiB;
# pread_whole: as large as the layer) or new each time (pread_fresh). Example:
#   build/kvreplay synth --prompt 32768 --layers 1 -o t.h5
#   bash tests/bench/read.sh t.h5 [SAME_TRACE_COMPRESSED ...]
set -euo pipefail
cd "$(dirname "$0")/../.."
source tools/install_dependencies.sh
install_packages doctest-dev libbenchmark-dev python3
cmake --preset release -DKVREPLAY_TESTS=ON >/dev/null
cmake --build build --target kvreplay_read_bench
build/kvreplay_read_bench "$@" --benchmark_repetitions=9 --benchmark_enable_random_interleaving=true \
  --benchmark_report_aggregates_only=true --benchmark_out=build/read.json --benchmark_out_format=json | grep pieces
python3 tests/bench/read_ratios.py build/read.json
