#include "traces/hdf5/chunk_places.h"

#include <algorithm>

namespace kvreplay::hdf5 {
namespace {

// To look one chunk up, HDF5 1.10 walks over all those before it: 10 to 30 ns each. Where that would take longer than
// some milliseconds, chunks are read through the library.
constexpr std::uint64_t kMaxWalk = 1 << 20;

hsize_t count(hsize_t extent, hsize_t step) { return extent / step + (extent % step != 0); }

/// Addresses of chunks count from the end of the user block in HDF5 1.10 and, with a later correction, from the
/// beginning of the file; without a user block that is the same.
bool has_user_block(const StoredArray& array) {
  const Lock lock;
  const File file(check("look up the file of", array.dataset, "", [&] { return H5Iget_file_id(array.dataset); }));
  const PropertyList creation(
      check("read the layout of", array.dataset, "", [&] { return H5Fget_create_plist(file); }));
  hsize_t size = 0;
  check("read the layout of", array.dataset, "", [&] { return H5Pget_userblock(creation, &size); });
  return size > 0;
}

void look_up(const StoredArray& array, ChunkPlace& chunk) {
  haddr_t address = HADDR_UNDEF;
  hsize_t size = 0;
  check("look up a chunk of", array.dataset, "", [&] {
    return H5Dget_chunk_info_by_coord(array.dataset, &chunk.start[3 - array.dims.size()], &chunk.mask, &address, &size);
  });
  chunk.address = address;
  chunk.size = size;
}

}  // namespace

Corner corner_of(std::span<const hsize_t> dims) {
  Corner corner = {1, 1, 1};
  std::ranges::copy(dims, corner.end() - static_cast<std::ptrdiff_t>(dims.size()));
  return corner;
}

Corner chunk_shape(const StoredArray& array) { return corner_of(array.chunk.empty() ? array.dims : array.chunk); }

std::vector<ChunkPlace> find_chunks(const StoredArray& array, Range rows) {
  const Corner dims = corner_of(array.dims), chunk = chunk_shape(array);
  if (array.chunk.empty()) {
    const Lock lock;  // an address that cannot be is no error of the library
    return {{.address = H5Dget_offset(array.dataset), .size = H5Dget_storage_size(array.dataset)}};
  }
  std::vector<ChunkPlace> chunks;
  for (hsize_t slab = 0; slab < dims[0]; slab += chunk[0])
    for (hsize_t row = rows.begin / chunk[1] * chunk[1]; row < rows.end; row += chunk[1])
      for (hsize_t col = 0; col < dims[2]; col += chunk[2]) chunks.push_back({.start = {slab, row, col}});
  const hsize_t n_all = count(dims[0], chunk[0]) * count(dims[1], chunk[1]) * count(dims[2], chunk[2]);
  if (chunks.size() * n_all > kMaxWalk || has_user_block(array)) return chunks;
  const Lock lock;
  for (ChunkPlace& place : chunks) look_up(array, place);
  return chunks;
}

}  // namespace kvreplay::hdf5
