#!/usr/bin/env bash
# Records the prompts of validation.jsonl (retrieval, code, chat, summary, long text, questions; 1.6k to 3.6k tokens of
# texts that a Debian machine with Python 3.11 and Perl has), each as a trace of its own with sensitivities, all layers.
#
#   bash tests/bench/validation.sh MODEL FOLDER      (PYTHON: interpreter with kvreplay[record])
#
# Then replay with --save-retained, and run kvreplay validate.
set -euo pipefail
cd "$(dirname "$0")"

model=$1
folder=$2
mkdir -p "$folder"
while read -r prompt; do
  name=$(printf '%s' "$prompt" | sed 's/.*"name": "\([a-z]*\)".*/\1/')
  [ -f "$folder/$name.h5" ] && continue
  printf '%s\n' "$prompt" >"$folder/$name.jsonl"
  "${PYTHON:-python3}" -m kvreplay.commands.record --model "$model" --prompts "$folder/$name.jsonl" --allow-text-files-anywhere \
    --decode 96 --sensitivity 16 --output "$folder/$name.h5" </dev/null
done <validation.jsonl
