#!/usr/bin/env bash
# Records what a policy is learned from: 16 prompts of 1.1k to 2k tokens (needles with a question, code, summaries, questions,
# plain text), 64 tokens decoded, with sensitivities; and 4 longer ones to test on. One trace each:
# FOLDER/train-00.h5 ... train-15.h5 and FOLDER/held-00.h5 ... held-03.h5. What is there already is kept.
#
#   bash tools/make_training_traces.sh MODEL FOLDER [OPTIONS OF kvreplay record...]
#
# MODEL is what kvreplay record takes. The texts are those of a Debian 12 machine (licences, Python's and CMake's files), so
# nothing is downloaded. The interpreter has kvreplay[record] installed: $KVREPLAY_PYTHON, or .venv/bin/python, or python3.
# SmolLM2-135M takes half a minute to one on two cores, and 130 MB for each prompt.
set -euo pipefail
if [ $# -lt 2 ]; then
  echo "usage: bash tools/make_training_traces.sh MODEL FOLDER [OPTIONS OF kvreplay record...]" >&2
  exit 2
fi
root=$(cd "$(dirname "$0")/.." && pwd)
model=$1
folder=$2
shift 2

python=${KVREPLAY_PYTHON:-}
[ -n "$python" ] || for python in "$root/.venv/bin/python" "$(command -v python3)"; do [ -x "$python" ] && break; done

export HF_HUB_OFFLINE=1
mkdir -p "$folder"
"$python" -m kvreplay.learning.training_prompts --model "$model" "$folder/prompts"
for prompts in "$folder"/prompts/train-*.jsonl "$folder"/prompts/held-*.jsonl; do
  trace=$folder/$(basename "$prompts" .jsonl).h5
  [ -e "$trace" ] || "$python" -m kvreplay.commands.record --model "$model" --prompts "$prompts" --output "$trace" \
    --decode 64 --sensitivity 8 "$@"
done
echo "recorded: $folder/train-*.h5 to learn from, $folder/held-*.h5 to test on"
echo "next:     kvreplay train $folder/train-*.h5 --held-out $folder/held-*.h5 --output $folder/lkv.h5"
echo "          kvreplay fit-budgets $folder/train-*.h5 --scorer lkv:file=$folder/lkv.h5,trained=fold --output $folder/policy.h5"
echo "or, without a network: kvreplay fit-budgets $folder/train-*.h5 --scorer snapkv --output $folder/table.h5"
