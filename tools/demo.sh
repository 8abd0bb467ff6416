#!/usr/bin/env bash
# The main job, from nothing: install what is missing, build, replay the shipped trace through every policy at 16 budgets,
# compare. KVzip, which needs a trace with probe queries, has a shorter one; predicted_kl, which needs all layers, another.
# A second run only does what has changed.
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/install_dependencies.sh
install_packages

[ -f build/CMakeCache.txt ] || cmake --preset release >/dev/null
cmake --build build --target kvreplay

trace=traces/examples/smollm2-needle.h5
results=build/demo-results.h5
build/kvreplay inspect "$trace"
build/kvreplay replay "$trace" --output "$results" --force
build/kvreplay compare "$results" --csv build/demo-results.csv --json build/demo-results.json --force

probe=traces/examples/smollm2-probe.h5
build/kvreplay replay "$probe" --policy kvzip,kvzip+uniform,expected-attention,capkv,snapkv,keydiff,random,oracle \
  --output build/demo-probe-results.h5 --force
build/kvreplay compare build/demo-probe-results.h5 --metric output_error,needle_recall

# With sensitivities: what the model itself would lose. Below 0.15 of this short prompt the window of SnapKV's kin does not fit.
layers=traces/examples/smollm2-all-layers.h5
build/kvreplay replay "$layers" --policy default,snapkv+waterfill:metric=predicted_kl --budget 0.15:1:8 \
  --output build/demo-layers-results.h5 --force
build/kvreplay compare build/demo-layers-results.h5 --metric predicted_kl

echo
echo "results: $results (xarray opens it), build/demo-results.csv, build/demo-results.json"
echo "next:    build/kvreplay compare $results --by layer"
echo "         build/kvreplay compare $results --surrogates"
