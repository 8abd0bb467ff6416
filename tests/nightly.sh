#!/usr/bin/env bash
# What takes too long for every change: files damaged by the thousand, every call that can fail, kills, and the C++
# tests of what threads share under sanitizers, the packages. Takes the program and the interpreter that tests/run.sh has made.
#   bash tests/nightly.sh [SEED]      what was drawn with that seed again; without it, one of the date
# Ends with 1 when something was found. build/damaged keeps the files that a promise was broken with.
set -euo pipefail
cd "$(dirname "$0")/.."

seed=${1:-$(date +%Y%m%d)}
echo "seed $seed"
python=.venv/bin/python
export KVREPLAY_PROGRAM=$PWD/build/kvreplay
for needed in "$python" "$KVREPLAY_PROGRAM"; do
  [ -x "$needed" ] || { echo "$needed is not there: bash tests/run.sh first" >&2; exit 2; }
done

found=()
part() { # NAME COMMAND...: runs it, and goes on with the next whatever it finds
  echo "== $1"
  "${@:2}" || found+=("$1")
}

damaged_files() {
  "$python" -m tests.hostile.damaged_files --program "$KVREPLAY_PROGRAM" --cases 3000 --seed "$seed" \
    --keep build/damaged
}

lies() {
  KVREPLAY_LIES=300 KVREPLAY_SEED=$seed "$python" -m pytest -q tests/hostile/lying_reader_test.py
}

failing_calls() {
  KVREPLAY_FAIL_STEP=1 "$python" -m pytest -q tests/faults
}

kills() {
  KVREPLAY_KILLS=200 KVREPLAY_SEED=$seed "$python" -m pytest -q tests/tools/cli/replay_kill_test.py
}

fuzz_targets() {
  bash tests/fuzz/run.sh "${KVREPLAY_FUZZ_SECONDS:-3600}" build/fuzz-found
}

# What threads share: the loops themselves, readers of one file, the units of a replay.
shared_by_threads='*/tests/core/base/parallel_test.cpp,*/tests/core/evidence/*,*/tests/traces/*,*/tests/tools/replay/*'
shared_by_threads+=',*/tests/tools/cli/replay_resume_test.cpp,*/tests/tools/cli/progress_test.cpp'

sanitized() { # SANITIZER FOLDER
  cmake --preset sanitize -B "$2" "-DKVREPLAY_SANITIZE=$1" -DKVREPLAY_CUDA=OFF -DKVREPLAY_CUDA_TESTS=OFF >/dev/null &&
    cmake --build "$2" --target kvreplay_tests &&
    OPENBLAS_NUM_THREADS=1 "$2/kvreplay_tests" --source-file="$shared_by_threads"
}

wheels() { # of what is released: of the archive of the sources
  bash tools/wheel.sh --from-sources
}

debian_package() {
  (cd build && cpack >/dev/null) && dpkg-deb --info build/kvreplay_*.deb
}

part "damaged files" damaged_files
part "lies of the reader" lies
part "failing calls" failing_calls
part "kills" kills
part "ThreadSanitizer" sanitized thread build-tsan
part "AddressSanitizer" sanitized address build-sanitize
part "wheels" wheels
part "Debian package" debian_package
part "fuzz targets" fuzz_targets

if [ ${#found[@]} -gt 0 ]; then
  printf 'found something: %s\n' "${found[@]}" >&2
  exit 1
fi
