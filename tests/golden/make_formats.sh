#!/usr/bin/env bash
# Makes tests/golden/formats again: a small file of each kind that the program writes.
#   bash tests/golden/make_formats.sh PROGRAM
# The files that are there were written by commit b8527b3, cache*.h5 with version 1.4 of traces. They are not to be
# replaced when a format grows: formats_test.py holds later programs to reading them. A new kind of file is added beside them.
set -euo pipefail
program=$(realpath "$1")
cd "$(dirname "$0")/formats"
policies=snapkv:window=8+ada,random,oracle
small=(--layers 2 --q-heads 4 --kv-heads 2 --head-dim 8 --value-dim 8 --needles 1 --needle-length 4 --question 8 --decode 8)
replay=(replay trace.h5 -p "$policies" -b 0.25,0.5,1 --quiet --force)

"$program" synth "${small[@]}" --prompt 96 --sensitivity 4 --seed 1 -o trace.h5 --force
"$program" "${replay[@]}" -o results.h5 --save-retained retained.h5 --save-outputs outputs.h5
for shard in 1 2; do "$program" "${replay[@]}" -o results.h5 --shard "$shard/2"; done
# A trace without queries (format 1.4): the keys and values of trace.h5 as an npz file, through kvreplay import plain --gzip.
"$program" replay cache.h5 -p knorm,keydiff,random -b 0.25,0.5,1 -m default,overlap --quiet --force -o cache-results.h5
# The journal of a replay that was killed: by hand, as a moment has to be met. Of four units 0, 2 and 3 were done.
#   "$program" replay trace.h5 -p "$policies,error-backward" -b 0.25,0.5,1 --threads 1 -o journal.h5 & kill -9 $!

# Budgets want several prompts.
for seed in 2 3 4 5; do
  "$program" synth "${small[@]}" --prompt 96 --sensitivity 4 --seed "$seed" -o "prompt-$seed.h5" --force
done
"$program" fit-budgets prompt-*.h5 --scorer knorm -o learned.h5 --force --quiet
rm prompt-*.h5
