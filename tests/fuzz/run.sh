#!/usr/bin/env bash
# Builds the fuzz targets and runs each on its corpus and on what libFuzzer makes of it.
#   bash tests/fuzz/run.sh SECONDS [FOLDER]    FOLDER: keeps what was found to lead to new places, for the next run
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:?how many seconds each?}
found=${2:-$(mktemp -d)}

cmake -S . -B build/fuzz -G Ninja -DCMAKE_CXX_COMPILER=clang++ -DCMAKE_C_COMPILER=clang -DKVREPLAY_FUZZ=ON \
  -DKVREPLAY_CUDA=OFF -DKVREPLAY_TESTS=OFF >/dev/null
cmake --build build/fuzz --target index_fuzz codec_fuzz
for target in index codec; do
  mkdir -p "$found/$target"
  echo "$target: $seconds seconds"
  "build/fuzz/${target}_fuzz" -max_total_time="$seconds" -max_len=65536 -rss_limit_mb=2048 -timeout=10 \
    -print_final_stats=1 -artifact_prefix="$found/" "$found/$target" "tests/fuzz/corpus/$target" 2>&1 | tail -n 12
done
