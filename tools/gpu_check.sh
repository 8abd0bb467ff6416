#!/usr/bin/env bash
# For a machine with a GPU: runs the tests of the CUDA backend on the device, benches every kernel against cuBLAS and the
# memory's bandwidth, and writes one record.
#   bash tools/gpu_check.sh [RECORD]                  builds for this machine's GPU, then checks
#   bash tools/gpu_check.sh --bundle FOLDER [ARCH]    builds for an architecture (90), gathers what a check needs
#   bash tools/gpu_check.sh --from FOLDER [RECORD]    checks with a bundle: nothing is built, no library but CUDA's is needed
# SECONDS_LEFT=N bounds the time that checks take (150). Exit code 77 where there is no GPU.
set -euo pipefail
cd "$(dirname "$0")/.."

programs=(cuda_device_test kvreplay_cuda_bench kvreplay kvreplay-reader)
export KVREPLAY_TRUST_INPUT=1  # machines that are lent may be containers without seccomp; the traces are our own

build() {  # ARCH FOLDER
  cmake --preset release -B "$2" -DKVREPLAY_TESTS=ON -DKVREPLAY_CUDA=ON "-DCMAKE_CUDA_ARCHITECTURES=$1-real" >/dev/null
  cmake --build "$2" --target "${programs[@]}"
}

if [ "${1:-}" = --bundle ]; then
  folder=$2 arch=${3:-90}
  build "$arch" "build"
  mkdir -p "$folder"
  for program in "${programs[@]}"; do
    cp "build/$program" "$folder/"
    strip "$folder/$program"
    # What a bare machine with a CUDA toolkit may lack.
    ldd "build/$program" | awk '$3 ~ /^\// && $1 !~ /^(libc\.|libm\.|libpthread|libdl\.|librt\.|ld-linux|libcuda|libcublas|libcusolver|libcusparse|libnvJitLink|libresolv)/ {print $3}' |
      xargs -I{} cp -L {} "$folder/"
  done
  git rev-parse HEAD >"$folder/commit"
  du -sh "$folder"
  exit
fi

if [ "${1:-}" = --from ]; then
  bundle=$(cd "$2" && pwd)
  shift 2
  commit=$(cat "$bundle/commit")
  export LD_LIBRARY_PATH=$bundle:/usr/local/cuda/lib64:${LD_LIBRARY_PATH:-}
else
  command -v nvidia-smi >/dev/null || { echo "SKIPPED: no nvidia-smi, no GPU" >&2; exit 77; }
  bundle=build commit=$(git rev-parse HEAD)
  build "$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -1 | tr -d .)" build
fi
record=${1:-gpu-record.txt}
begin=$SECONDS
limit=${SECONDS_LEFT:-150}
left() { echo $((limit - (SECONDS - begin) > 5 ? limit - (SECONDS - begin) : 5)); }
export OPENBLAS_NUM_THREADS=1

{
  echo "commit   $commit"
  nvidia-smi --query-gpu=name,driver_version,memory.total,compute_cap,clocks.max.sm,clocks.max.mem --format=csv,noheader || true
  echo "== tests on the device"
  status=0
  timeout "$(left)" "$bundle/cuda_device_test" || status=$?
  echo "exit code $status"
  if [ $status = 77 ]; then exit 77; fi
  echo "== bench"
  timeout "$(left)" "$bundle/kvreplay_cuda_bench" || echo "exit code $?"
  work=$(mktemp -d)
  replay() {  # TRACE BACKEND [OPTIONS]
    local trace=$1 backend=$2 begun
    shift 2
    begun=$(date +%s.%N)
    timeout "$(left)" "$bundle/kvreplay" replay "$trace" --backend "$backend" -o "$work/$backend.h5" --force "$@" 2>&1 ||
      echo "exit code $?"
    echo "$backend: $(echo "$(date +%s.%N) $begun" | awk '{print $1 - $2}') s"
    "$bundle/kvreplay" compare "$work/$backend.h5" --by head --csv "$work/$backend.csv" --force >/dev/null || true
  }
  agreement() {
    paste -d, "$work/cpu.csv" "$work/cuda.csv" | awk -F, '
      NR == 1 { n = NF / 2; for (i = 1; i <= n; ++i) if ($i == "value") c = i; next }
      NF != 2 * n || $1 != $(n + 1) || $3 != $(n + 3) { ++unlike; next }
      $c == "" { next }
      { d = $c - $(n + c); if (d < 0) d = -d; m = ($c < 0 ? -$c : $c)
        if (m > 1e-6 && d / m > worst) { worst = d / m; at = $1 " of " $3 " at " $5 } ++count }
      END {printf "largest relative difference of %d values: %.2g (%s); %d lines not compared\n", count, worst, at, unlike}'
  }
  echo "== a recorded trace, on the CPU and on the device"
  for backend in cpu cuda; do replay traces/examples/smollm2-needle.h5 $backend; done
  agreement
  echo "== 32,768 synthetic tokens, on the CPU and on the device"
  "$bundle/kvreplay" synth --prompt 32768 --layers 2 --kv-heads 8 --q-heads 32 --head-dim 128 --value-dim 128 \
    --last-queries-only -o "$work/long.h5"
  for backend in cpu cuda; do
    replay "$work/long.h5" $backend --compression-point prompt -m output_error,attention_recall \
      -p snapkv,tova,knorm,keydiff,streaming-llm,lagkv,value-norm:of=value,random,ada-snapkv,oracle
  done
  agreement
  sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null || true)
  if [ -n "$sanitizer" ]; then
    for tool in memcheck racecheck synccheck initcheck; do
      echo "== compute-sanitizer $tool"
      timeout "$(left)" "$sanitizer" --tool $tool --print-limit 10000 --error-exitcode 9 "$bundle/cuda_device_test" \
        -tc="norms *,wide heads*,plans of more*,column sums*,outer products*,log determinants*,Gram *" \
        >"$work/sanitizer.txt" 2>&1 || echo "exit code $?"
      # What it finds, by kernel; then its summary.
      grep -oE '^=========  *at [^(<+]*' "$work/sanitizer.txt" | sort | uniq -c | sort -rn | head -12 || true
      tail -12 "$work/sanitizer.txt"
    done
  else
    echo "== compute-sanitizer: not there"
  fi
  rm -r "$work"
  echo "seconds  $((SECONDS - begin))"
  exit $status
} 2>&1 | tee "$record"
