#!/usr/bin/env bash
# Builds the wheels of the Python package (for Python 3.11, and for 3.12 and later) and the archive of its sources, then
# installs them into clean environments and tests them there.
#   bash tools/wheel.sh [OPTION...] [PYTHON...]
# PYTHON are interpreters (default: python3.11, python3.12 and so on, as far as they are on the PATH); several of 3.12 and
# later share a wheel.
#   --from-sources   build from the archive of the sources instead of from the tree: what pip does where no wheel fits
#   --with-torch     install PyTorch beside, so that it is tested too
# build/wheel/dist gets the wheels and the archive.
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/install_dependencies.sh

most_megabytes=20 # of a wheel
from_sources=false
with_torch=false
pythons=()
for argument in "$@"; do
  case "$argument" in
    --from-sources) from_sources=true ;;
    --with-torch) with_torch=true ;;
    -*) sed -n 's/^# \{0,1\}//; 3,9p' "$0" >&2; exit 2 ;;
    *) pythons+=("$argument") ;;
  esac
done
install_packages python3-dev python3-venv dpkg-dev zlib1g-dev
if [ ${#pythons[@]} -eq 0 ]; then
  for minor in 11 12 13 14; do
    "python3.$minor" -c "" 2>/dev/null && pythons+=("python3.$minor")
  done
fi

root=$PWD/build/wheel
mkdir -p "$root/dist"
bash tools/package/hdf5.sh "$root/hdf5"

# builder PYTHON VERSION: an environment that builds, in $environment.
builder() {
  environment=$root/builder-$2
  [ -x "$environment/bin/auditwheel" ] && return
  "$1" -m venv --clear "$environment"
  "$environment/bin/python" -m pip install --quiet --disable-pip-version-check -r tools/package/requirements.txt
}

# pack_sources: makes the archive of the sources, and says in $sources what is built, in $build_dir.
pack_sources() {
  rm -f "$root"/dist/*.tar.gz
  "$environment/bin/python" -m build --sdist --no-isolation --outdir "$root/dist" . >/dev/null
  sources=$PWD
  build_dir=$root/{wheel_tag}
  $from_sources || return 0
  sources=$root/sources
  build_dir=$root/sources-{wheel_tag}
  rm -rf "$sources"
  mkdir "$sources"
  tar -xf "$root"/dist/*.tar.gz --strip-components 1 -C "$sources"
}

# build_wheel TAG: in $wheel, good for Linux of 2022 and later.
build_wheel() {
  local built=$root/built
  rm -rf "$built" "$root/dist/"*"-$1-"*.whl
  PATH=$environment/bin:$PATH "$environment/bin/python" -m pip wheel --quiet --disable-pip-version-check \
    --no-build-isolation --no-deps --wheel-dir "$built" "$sources" \
    "--config-settings=build-dir=$build_dir" \
    "--config-settings=cmake.define.HDF5_ROOT=$root/hdf5" --config-settings=cmake.define.HDF5_USE_STATIC_LIBRARIES=ON
  PATH=$environment/bin:$PATH auditwheel repair --strip --plat manylinux_2_34_x86_64 \
    --wheel-dir "$root/dist" "$built"/*.whl >"$built/repair.log" 2>&1 || { cat "$built/repair.log" >&2; exit 1; }
  wheel=$(ls "$root/dist/"*"-$1-"*.whl)
  local bytes
  bytes=$(stat -c %s "$wheel")
  echo "$(basename "$wheel"): $(numfmt --to=si --format=%.1f "$bytes")B"
  [ "$bytes" -le $((most_megabytes * 1000000)) ] || { echo "more than $most_megabytes MB" >&2; exit 1; }
}

# try_wheel PYTHON VERSION: nothing but the wheel and what it asks for.
try_wheel() {
  local clean=$root/clean-$2 extra=()
  if $with_torch; then extra=(-c tests/constraints.txt torch); fi
  "$1" -m venv --clear "$clean"
  local python=$clean/bin/python begin=$EPOCHREALTIME
  "$python" -m pip install --quiet --disable-pip-version-check "$wheel"
  "$clean/bin/kvreplay" replay traces/examples/smollm2-probe.h5 -p snapkv,h2o -b 0.1,0.2 -o "$clean/first.h5" --quiet
  echo "Python $2: installed, and replayed for the first time, after $(((${EPOCHREALTIME/./} - ${begin/./}) / 1000000)) s"
  "$python" -m pip install --quiet --disable-pip-version-check scipy "${extra[@]}"
  "$python" -m pip check
  "$python" -I tests/tools/python/wheel_check.py
}

sources=
declare -A wheels
for python in "${pythons[@]}"; do
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  tag=cp312-abi3
  [ "$version" = 3.11 ] && tag=cp311-cp311
  if [ -z "${wheels[$tag]:-}" ]; then
    builder "$python" "$version"
    [ -n "$sources" ] || pack_sources
    build_wheel "$tag"
    wheels[$tag]=$wheel
  fi
  wheel=${wheels[$tag]}
  try_wheel "$python" "$version"
done
