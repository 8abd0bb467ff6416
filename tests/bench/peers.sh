#!/usr/bin/env bash
# kvreplay and its peers side by side, in one run, on recorded traces: PyTorch in three ways, and kvpress in the model.
#   pip install -r tools/requirements-record.txt kvpress==0.5.5
#   KVREPLAY_PYTHON=.venv/bin/python bash tests/bench/peers.sh TRACE... [OPTIONS OF peers.py]
# The traces of the README, plain licence texts:
#   texts="/usr/share/common-licenses/GPL-3 /usr/share/common-licenses/MPL-2.0 /usr/share/common-licenses/Apache-2.0"
#   model=SmolLM2-135M-Instruct.Q4_1.gguf
#   python tests/bench/text_prompt.py --model $model --tokens 4486 $texts >96.jsonl
#   python tools/record.py --model $model --prompts 96.jsonl --decode 96 -o 4k-96.h5
#   python tests/bench/text_prompt.py --model $model --tokens 5510 --point 4486 $texts >1024.jsonl
#   python tools/record.py --model $model --prompts 1024.jsonl --decode 0 -o 4k-1024.h5
#   bash tests/bench/peers.sh 4k-96.h5 4k-1024.h5 --layers 0,9,19,29 --model $model
# Writes build/peers.json; tests/bench/table.py makes the README's table of it.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
source "$root/tools/install_dependencies.sh"
install_packages doctest-dev libbenchmark-dev
(cd "$root" && cmake --preset release -DKVREPLAY_TESTS=ON >/dev/null &&
  cmake --build build --target kvreplay kvreplay_peer_bench)
HF_HUB_OFFLINE=1 TQDM_DISABLE=1 "${KVREPLAY_PYTHON:-$root/.venv/bin/python}" "$root/tests/bench/peers.py" "$@"
