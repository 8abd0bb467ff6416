#!/usr/bin/env bash
# Builds the HDF5 library of Debian's source package for wheels: static, and fit to be part of a module. Debian's own archive
# is not, and its shared library brings curl, Kerberos and 20 more, and would be taken for h5py's by name.
#   bash tools/package/hdf5.sh FOLDER     installs it there, once
set -euo pipefail

folder=$(realpath -m "${1:?usage: bash tools/package/hdf5.sh FOLDER}")
[ -f "$folder/complete" ] && exit
work=$folder/work
rm -rf "$folder"
mkdir -p "$work/lists/partial"
cd "$work"

# Lists of our own: the machine's need not name sources, and are left as they are.
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
keys=/usr/share/keyrings/debian-archive-keyring.gpg
for suite in "debian $release" "debian-security $release-security"; do
  echo "deb-src [signed-by=$keys] http://deb.debian.org/$suite main"
done >sources.list
apt=(apt-get -qq -o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=/dev/null
  -o "Dir::State::Lists=$work/lists" -o APT::Sandbox::User=root)
"${apt[@]}" update
"${apt[@]}" source hdf5 >/dev/null

mkdir build
cd build
# As Debian's: threads, and the high level library beside them. zlib is part of every Linux. In sections, so that linkers
# leave out what nobody calls.
CFLAGS="-O2 -w -ffunction-sections -fdata-sections" ../hdf5-*/configure --prefix="$folder" --quiet --disable-shared --with-pic --enable-build-mode=production \
  --enable-threadsafe --enable-unsupported --disable-tests --disable-tools --with-szlib=no --enable-ros3-vfd=no
make --quiet --jobs "$(nproc)" install >make.log 2>&1 || { tail -n 20 make.log >&2; exit 1; }
cd "$folder"
# What CMake asks for the libraries; Debian fills in its folders when it packages them.
sed -i -e 's|/hdf5/@FLAVOR_NAME@||g' -e 's|@FLAVOR@||g' bin/h5cc
rm -rf work
touch complete
