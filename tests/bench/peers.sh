#!/usr/bin/env bash
# kvreplay and its peers side by side, in one run, on recorded traces: PyTorch in three ways, and kvpress in the model.
#   pip install -c tests/constraints.txt -e '.[record]' kvpress==0.5.5
#   KVREPLAY_PYTHON=.venv/bin/python bash tests/bench/peers.sh TRACE... [OPTIONS OF peers.py]
# tests/bench/performance.sh records the traces of docs/performance.md and calls this.
# Writes build/peers.json; tests/bench/table.py makes a table of docs/performance.md of it.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
source "$root/tools/install_dependencies.sh"
install_packages doctest-dev libbenchmark-dev
(cd "$root" && cmake --preset release -DKVREPLAY_TESTS=ON >/dev/null &&
  cmake --build build --target kvreplay kvreplay_peer_bench)
HF_HUB_OFFLINE=1 TQDM_DISABLE=1 "${KVREPLAY_PYTHON:-$root/.venv/bin/python}" "$root/tests/bench/peers.py" "$@"
