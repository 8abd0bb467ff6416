#include "traces/reader/zstd_filter.h"

#include <zstd.h>

#include "traces/hdf5/hdf5.h"
#include "traces/input/filters.h"

namespace kvreplay::hdf5 {
namespace {

// What the library calls. 0 says that it failed.
std::size_t filter_zstd(unsigned flags, std::size_t, const unsigned*, std::size_t n_stored, std::size_t* buffer_size,
                        void** buffer) {
  if ((flags & H5Z_FLAG_REVERSE) == 0) return 0;  // we do not write it
  const unsigned long long size = ZSTD_getFrameContentSize(*buffer, n_stored);
  if (size == ZSTD_CONTENTSIZE_ERROR || size == ZSTD_CONTENTSIZE_UNKNOWN || size == 0 ||
      size / kMaxZstdRatio > n_stored)
    return 0;
  void* const out = H5allocate_memory(size, false);
  if (out == nullptr) return 0;
  const std::size_t n = ZSTD_decompress(out, size, *buffer, n_stored);
  if (ZSTD_isError(n)) {
    H5free_memory(out);
    return 0;
  }
  H5free_memory(*buffer);
  *buffer = out;
  *buffer_size = size;
  return n;
}

}  // namespace

void register_zstd() {
  static const H5Z_class2_t zstd = {H5Z_CLASS_T_VERS, kZstd, 0, 1, "zstd", nullptr, nullptr, filter_zstd};
  check("register", -1, "zstd", [&] { return H5Zregister(&zstd); });
}

}  // namespace kvreplay::hdf5
