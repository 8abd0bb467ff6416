#!/usr/bin/env bash
# Installs what building kvreplay needs from Debian, if it is not there. Sourced by tools/demo.sh and tests/run.sh.
#   install_packages [PACKAGE...]   the build's packages and these
set -euo pipefail

build_packages=(
  build-essential cmake ninja-build pkg-config
  libhdf5-dev libopenblas-pthread-dev libboost-program-options-dev
  libhwy-dev libtbb-dev libxxhash-dev libdeflate-dev libzstd-dev libfmt-dev nlohmann-json3-dev
)

install_packages() {
  local missing=() package
  for package in "${build_packages[@]}" "$@"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  echo "installing ${missing[*]}"
  local as_root=()
  [ "$(id -u)" -eq 0 ] || as_root=(sudo)
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}
