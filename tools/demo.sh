#!/usr/bin/env bash
# The main job, from nothing: install what is missing, build, replay the shipped traces through every policy at 16 budgets,
# and say who wins. A second run only does what has changed.
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/install_dependencies.sh
install_packages

[ -f build/CMakeCache.txt ] || cmake --preset release >/dev/null
cmake --build build --target kvreplay

# replays TRACE NAME OPTIONS...: to build/NAME.h5, with a page about it; what is left out, and why, stands in the page.
replays() {
  echo "replaying $1"
  build/kvreplay replay "$1" --output "build/$2.h5" --report "build/$2.html" --force --quiet "${@:3}"
}

echo
# KVzip needs a trace with probe queries.
replays traces/examples/smollm2-probe.h5 demo-probe \
  --policy kvzip,kvzip+uniform,expected-attention,capkv,snapkv,keydiff,random,oracle
# With sensitivities of all layers: what the model itself would lose. Below 0.15 of this short prompt the window of SnapKV's
# kin does not fit.
replays traces/examples/smollm2-all-layers.h5 demo-layers \
  --policy default,snapkv+waterfill:metric=predicted_kl --budget 0.15:1:8
# A needle in a text of 1,200 tokens, through every policy.
replays traces/examples/smollm2-needle.h5 demo
echo
build/kvreplay compare build/demo.h5 --csv build/demo.csv --json build/demo.json --force

echo
echo "Open in a browser: build/demo.html (and build/demo-layers.html, build/demo-probe.html)"
