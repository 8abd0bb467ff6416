#!/usr/bin/env bash
# What scoring costs, against the attention passes of the same policies' replay, on a recorded trace. For docs/performance.md:
#   kvreplay record --model SmolLM2-135M-Instruct.Q4_1.gguf --prompts PROMPT_OF_3K_TOKENS --layers 10,20,29 --decode 96 -o t.h5
#   bash tests/bench/scoring.sh t.h5 [POINT] [REPETITIONS]
set -euo pipefail
cd "$(dirname "$0")/../.."
source tools/install_dependencies.sh
install_packages doctest-dev libbenchmark-dev python3
cmake --preset release -DKVREPLAY_TESTS=ON >/dev/null
cmake --build build --target kvreplay_scoring_bench
build/kvreplay_scoring_bench "$1" "${2:-prompt}" --benchmark_repetitions="${3:-5}" \
  --benchmark_report_aggregates_only=true --benchmark_out=build/scoring.json --benchmark_out_format=json |
  grep -E "policies x|peak memory"
python3 tests/bench/scoring_ratios.py build/scoring.json
