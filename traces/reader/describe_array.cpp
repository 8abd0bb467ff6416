#include "traces/reader/describe_array.h"

#include <algorithm>
#include <iterator>
#include <vector>

#include "traces/input/filters.h"
#include "traces/reader/read_values.h"

namespace kvreplay::hdf5 {
namespace {

bool has_elements(const IndexedShape& shape) {
  return !shape.is_null && std::find(shape.dims.begin(), shape.dims.end(), 0U) == shape.dims.end();
}

/// Whether only the library can say what the elements are.
bool needs_library(H5D_layout_t layout, hid_t creation, const IndexedArray& array) {
  if (layout == H5D_COMPACT) return true;
  if (layout != H5D_CHUNKED) return false;
  unsigned options = 0;
  check("read the layout of", -1, "an array", [&] { return H5Pget_chunk_opts(creation, &options); });
  return (options & H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS) != 0 ||
         (!array.filters.empty() && !order_of(array.filters).is_ours);
}

std::vector<IndexedFilter> describe_filters(hid_t creation) {
  std::vector<IndexedFilter> filters;
  const int n = check("read the filters of", -1, "an array", [&] { return H5Pget_nfilters(creation); });
  for (int i = 0; i < n; ++i) {
    unsigned flags = 0, parameters[8] = {};
    std::size_t n_parameters = std::size(parameters);
    char name[64] = {};
    const H5Z_filter_t id = check("read the filters of", -1, "an array", [&] {
      return H5Pget_filter2(creation, static_cast<unsigned>(i), &flags, &n_parameters, parameters, sizeof name - 1,
                            name, nullptr);
    });
    filters.push_back({id, name, {parameters, parameters + std::min(n_parameters, std::size(parameters))}});
  }
  return filters;
}

void describe_chunks(MappedFile& file, hid_t id, const Space& space, hid_t creation, IndexedArray& array) {
  array.storage = Storage::chunked;
  const std::size_t rank = array.shape.dims.size();
  std::vector<hsize_t> chunk(rank);
  check("read the layout of", -1, "an array",
        [&] { return H5Pget_chunk(creation, static_cast<int>(rank), chunk.data()); });
  array.chunk_dims.assign(chunk.begin(), chunk.end());
  hsize_t n_written = 0;
  check("count the chunks of", -1, "an array", [&] { return H5Dget_num_chunks(id, space, &n_written); });
  array.n_chunks = n_written;
  // The grid; the library has checked that it can be counted where that many chunks are written.
  std::vector<std::uint64_t> grid(rank);
  std::uint64_t n_chunks = 1;
  for (std::size_t d = 0; d < rank; ++d) {
    if (chunk[d] == 0) throw Violation("expected chunks with an extent, found 0");
    grid[d] = n_chunks_along(array, d);
    if (__builtin_mul_overflow(n_chunks, grid[d], &n_chunks)) return;
  }
  if (n_written > kMaxChunks || n_written != n_chunks) return;
  // Asked where a chunk is (H5Dget_chunk_info), the library walks over all of them. To read one, it looks it up.
  std::vector<IndexedChunk> chunks(n_chunks);
  for (std::uint64_t i = 0; i < n_chunks; ++i) {
    std::vector<hsize_t> start(rank);
    std::uint64_t rest = i;
    for (std::size_t d = rank; d-- > 0; rest /= grid[d]) start[d] = rest % grid[d] * chunk[d];
    std::byte unread[1];
    const ByteRange place = place_of_values(file, [&] {
      check("look up a chunk of", -1, "an array",
            [&] { return H5Dread_chunk(id, H5P_DEFAULT, start.data(), &chunks[i].mask, unread); });
    });
    chunks[i].address = place.address;
    chunks[i].size = place.size;
  }
  array.chunks = std::move(chunks);
}

}  // namespace

IndexedArray describe_array(MappedFile& file, hid_t id) {
  const Type type(check("read the type of", -1, "an array", [&] { return H5Dget_type(id); }));
  const Space space(check("read the shape of", -1, "an array", [&] { return H5Dget_space(id); }));
  const PropertyList creation(check("read the layout of", -1, "an array", [&] { return H5Dget_create_plist(id); }));
  IndexedArray array;
  array.type = describe_type(type);
  array.shape = shape_of(space);
  const H5D_layout_t layout = H5Pget_layout(creation);
  if (layout == H5D_VIRTUAL || H5Pget_external_count(creation) != 0) {
    array.storage = layout == H5D_VIRTUAL ? Storage::virtual_ : Storage::external;
    return array;
  }
  array.size = H5Dget_storage_size(id);
  array.filters = describe_filters(creation);
  if (layout == H5D_CHUNKED) describe_chunks(file, id, space, creation, array);
  const auto read = [&](hid_t memory, void* out) { return H5Dread(id, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, out); };
  if (array.type.type_class == TypeClass::string || needs_library(layout, creation, array)) {
    array.storage = Storage::in_index;
    array.chunks.clear();
    if (array.size == 0 && has_elements(array.shape))
      array.values.problem = "none was ever written";
    else
      array.values = read_values(type, space, read);
  } else if (layout == H5D_CONTIGUOUS) {
    array.address = H5Dget_offset(id);
  }
  return array;
}

}  // namespace kvreplay::hdf5
