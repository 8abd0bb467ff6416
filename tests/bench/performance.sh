#!/usr/bin/env bash
# All measurements behind docs/performance.md, in one go, as tables. Half an hour on two cores that have
# nothing else to do.
#   pip install -c tests/constraints.txt -e '.[record]' kvpress==0.5.5
#   KVREPLAY_PYTHON=.venv/bin/python bash tests/bench/performance.sh MODEL.gguf [FOLDER]
# Records traces of licence texts into FOLDER (build/bench-traces), unless they are there: NAME, what the model reads,
# tokens decoded.
set -euo pipefail
model=$(realpath "$1")
cd "$(dirname "$0")/../.."
folder=${2:-build/bench-traces}
python=${KVREPLAY_PYTHON:-.venv/bin/python}
source tools/install_dependencies.sh
install_packages doctest-dev libbenchmark-dev
# The library's choice of kernels, whatever the environment prefers: it is what we are measured against.
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE
cmake --preset release -DKVREPLAY_TESTS=ON >/dev/null
cmake --build build

record() {
  local name=$1 decode=$2 texts=()
  shift 2
  [ -f "$folder/$name.h5" ] && return
  for text in GPL-3 MPL-2.0 Apache-2.0 LGPL-2.1 GFDL-1.3; do texts+=("/usr/share/common-licenses/$text"); done
  "$python" tests/bench/text_prompt.py --model "$model" "$@" "${texts[@]}" >"$folder/$name.jsonl"
  HF_HUB_OFFLINE=1 "$python" -m kvreplay.commands.record --model "$model" --prompts "$folder/$name.jsonl" --decode "$decode" \
    -o "$folder/$name.h5"
}
mkdir -p "$folder"
record 3k 96 --tokens 3001
record 4k-96 96 --tokens 4486
record 4k-1024 0 --tokens 5510 --point 4486
record 8k 96 --tokens 8000
[ -f "$folder/long.h5" ] || build/kvreplay synth --prompt 32768 --layers 1 --q-heads 9 --kv-heads 3 -o "$folder/long.h5"

measure() {
  local name=$1 repetitions=$2
  shift 2
  "$@" --benchmark_repetitions="$repetitions" --benchmark_report_aggregates_only=true \
    --benchmark_out="build/$name.json" --benchmark_out_format=json >/dev/null
}
measure kernels 5 build/kvreplay_kernel_bench
measure bench 5 build/kvreplay_bench
measure read 9 build/kvreplay_read_bench "$folder/long.h5"
measure whole 3 build/kvreplay_whole_bench "$folder/3k.h5" "$folder/8k.h5"
KVREPLAY_PYTHON=$python bash tests/bench/peers.sh "$folder/4k-96.h5" "$folder/4k-1024.h5" --layers 0,9,19,29 \
  --model "$model"
python3 tests/bench/table.py build/{kernels,bench,read,whole,peers}.json
