#!/usr/bin/env bash
# Installs what is missing, builds, and runs all tests.
#   bash tests/run.sh           everything
#   bash tests/run.sh --fast    without the recorder's tests and those of CUDA code (no PyTorch needed)
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/install_dependencies.sh

fast=false
for argument in "$@"; do
  case "$argument" in
    --fast) fast=true ;;
    *) echo "usage: bash tests/run.sh [--fast]" >&2; exit 2 ;;
  esac
done

install_packages doctest-dev libbenchmark-dev libboost-context-dev
configure=(cmake --preset release -DKVREPLAY_TESTS=ON)
select=()
if $fast; then
  select=(--label-regex fast)
  configure+=(-DKVREPLAY_CUDA_TESTS=OFF)
else
  # The interpreter of the tests: the package as it lies here, what it needs, and what opens results.
  install_packages python3-dev python3-venv clang libclang-rt-14-dev
  # Tests of pages are skipped without it.
  install_packages chromium || echo "chromium cannot be installed: the tests in tests/browser are skipped"
  [ -x .venv/bin/python ] || python3 -m venv .venv
  wanted=$(cat pyproject.toml tests/constraints.txt tests/requirements-{test,kvpress}.txt | sha256sum)
  if [ "$(cat .venv/installed 2>/dev/null)" != "$wanted" ]; then
    # The package's Python alone, as it lies here: the program and the module are those of the build below.
    .venv/bin/python -m pip install --quiet --disable-pip-version-check \
      --config-settings=wheel.cmake=false --config-settings=wheel.py-api=py3 --config-settings=editable.mode=inplace \
      -c tests/constraints.txt -e '.[record,train,notebook]' -r tests/requirements-test.txt
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r tests/requirements-kvpress.txt
    echo "$wanted" >.venv/installed
  fi
  configure+=("-DKVREPLAY_PYTHON=$PWD/.venv/bin/python" -DKVREPLAY_CUDA_TESTS=ON)
  configure+=(-DKVREPLAY_PYTHON_MODULE=ON "-DPython_EXECUTABLE=$PWD/.venv/bin/python")
fi

"${configure[@]}" >/dev/null
cmake --build build
cmake --install build --prefix build/installed >/dev/null
build/installed/bin/kvreplay --version
build/installed/bin/kvreplay inspect --quick traces/examples/smollm2-probe.h5 | tail -n 1
ctest --test-dir build --output-on-failure --parallel "$(nproc)" "${select[@]}"
