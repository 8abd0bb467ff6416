#!/usr/bin/env bash
# What a report takes: of the shipped trace with its retained sets, and of a study of 100 samples x 2 points x 45 policies
# x 16 budgets x 30 layers, four measures. After tests/run.sh:
#   bash tests/bench/report.sh [REPETITIONS]
# Prints the wall-clock seconds and the most memory of every run (the first warms the cache), the size of the page, and,
# where there is Chromium, the milliseconds from opening it to its being drawn.
set -euo pipefail
cd "$(dirname "$0")/../.."
source tools/install_dependencies.sh
install_packages time
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
page=$folder/report.html

# measure NAME ARGUMENTS...: of kvreplay report
measure() {
  echo "$1"
  for ((run = 0; run <= repetitions; ++run)); do
    /usr/bin/time --format "  run $run: %e s, %M KiB" build/kvreplay report "${@:2}" --quiet --force --output "$page" 2>&1
  done
  echo "  page: $(stat --format %s "$page") bytes"
  command -v chromium >/dev/null || return 0
  for ((run = 1; run <= repetitions; ++run)); do
    chromium --headless=new --no-sandbox --disable-gpu --virtual-time-budget=20000 --dump-dom "file://$page" 2>/dev/null |
      grep -o 'data-ready="[0-9]*"' | tr -dc '0-9\n' | sed 's/.*/  drawn after & ms/'
  done
}

repetitions=${1:-5}
build/kvreplay replay traces/examples/smollm2-needle.h5 --quiet --output "$folder/needle.h5" --save-retained "$folder/sets.h5"
measure "shipped trace, 45 policies" "$folder/needle.h5" --retained "$folder/sets.h5"
build/kvreplay replay traces/examples/smollm2-all-layers.h5 --quiet --output "$folder/one.h5"
.venv/bin/python tests/bench/tiled_results.py "$folder/one.h5" "$folder/large.h5"
measure "100 samples: results of $(stat --format %s "$folder/large.h5") bytes" "$folder/large.h5"
