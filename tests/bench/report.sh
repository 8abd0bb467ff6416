#!/usr/bin/env bash
# What a report takes of a study: 100 samples x 2 points x 45 policies x 16 budgets x 30 layers, four measures.
#   bash tests/bench/report.sh [REPETITIONS]
# Prints the wall-clock seconds and the most memory of every run, and the size of the page. The first run warms the cache.
set -euo pipefail
cd "$(dirname "$0")/../.."
source tools/install_dependencies.sh
install_packages time
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
build/kvreplay replay traces/examples/smollm2-all-layers.h5 --quiet --output "$folder/one.h5"
.venv/bin/python tests/bench/tiled_results.py "$folder/one.h5" "$folder/large.h5"
ls -l --block-size=MB "$folder/large.h5" | cut -d ' ' -f 5-
for ((run = 0; run <= ${1:-5}; ++run)); do
  /usr/bin/time --format "run $run: %e s, %M KiB" \
    build/kvreplay report "$folder/large.h5" --quiet --force --output "$folder/report.html"
done
ls -l --block-size=MB "$folder/report.html" | cut -d ' ' -f 5-
