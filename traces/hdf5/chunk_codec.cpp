#include "traces/hdf5/chunk_codec.h"

#include <fmt/format.h>
#include <libdeflate.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>

#include "traces/hdf5/hdf5.h"

namespace kvreplay::hdf5 {
namespace {

constexpr std::uint64_t kMaxDeflateRatio = 1100;  // zlib reaches 1032

// The state that decompressing needs, one for each thread.
libdeflate_decompressor* inflater() {
  struct Free {
    void operator()(libdeflate_decompressor* d) const { libdeflate_free_decompressor(d); }
  };
  thread_local const std::unique_ptr<libdeflate_decompressor, Free> state(libdeflate_alloc_decompressor());
  if (!state) throw std::bad_alloc();
  return state.get();
}

ZSTD_DCtx* zstd_decoder() {
  struct Free {
    void operator()(ZSTD_DCtx* d) const { ZSTD_freeDCtx(d); }
  };
  thread_local const std::unique_ptr<ZSTD_DCtx, Free> state(ZSTD_createDCtx());
  if (!state) throw std::bad_alloc();
  return state.get();
}

void inflate(std::span<const std::byte> stored, std::span<std::byte> out) {
  std::size_t n = 0;
  const libdeflate_result result =
      libdeflate_zlib_decompress(inflater(), stored.data(), stored.size(), out.data(), out.size(), &n);
  if (result == LIBDEFLATE_INSUFFICIENT_SPACE)
    throw Violation(fmt::format("expected {} bytes in gzip, found more", out.size()));
  if (result != LIBDEFLATE_SUCCESS)
    throw Violation(fmt::format("expected {} bytes in gzip, found corrupted data", out.size()));
  if (n != out.size()) throw Violation(fmt::format("expected {} bytes in gzip, found {}", out.size(), n));
}

void decode_zstd(std::span<const std::byte> stored, std::span<std::byte> out) {
  const std::size_t n = ZSTD_decompressDCtx(zstd_decoder(), out.data(), out.size(), stored.data(), stored.size());
  if (ZSTD_isError(n))
    throw Violation(
        fmt::format("expected {} bytes in zstd, found corrupted data or more ({})", out.size(), ZSTD_getErrorName(n)));
  if (n != out.size()) throw Violation(fmt::format("expected {} bytes in zstd, found {}", out.size(), n));
}

/// Puts the bytes of each element together again: all first bytes come first, then all second ones, ...
void unshuffle(std::span<const std::byte> in, std::size_t element_size, std::byte* out) {
  const std::size_t n = in.size() / element_size;
  if (element_size == 2) {  // a loop that compilers turn into SIMD
    const std::byte *low = in.data(), *high = in.data() + n;
    for (std::size_t i = 0; i < n; ++i) {
      out[2 * i] = low[i];
      out[2 * i + 1] = high[i];
    }
  } else {
    for (std::size_t b = 0; b < element_size; ++b)
      for (std::size_t i = 0; i < n; ++i) out[i * element_size + b] = in[b * n + i];
  }
  std::memcpy(out + n * element_size, in.data() + n * element_size, in.size() - n * element_size);
}

}  // namespace

void ChunkCodec::add(H5Z_filter_t filter, std::span<const unsigned> values) {
  const unsigned index = n_filters_++;
  if (filter == H5Z_FILTER_DEFLATE || filter == kFilterZstd) {
    max_ratio_ = std::max(max_ratio_, filter == kFilterZstd ? kMaxZstdRatio : kMaxDeflateRatio);
    ours_ = ours_ && !compresses();
    compression_ = filter;
    compression_index_ = index;
  } else if (filter == H5Z_FILTER_SHUFFLE && index == 0 && !values.empty() && values[0] > 0) {
    shuffled_size_ = values[0];
    shuffle_index_ = index;
  } else {
    ours_ = false;
  }
}

std::span<const std::byte> ChunkCodec::decode(std::span<const std::byte> stored, unsigned mask, std::size_t size,
                                              Scratch& scratch) const {
  const auto applied = [&](unsigned index) { return (mask >> index & 1) == 0; };
  std::span<const std::byte> bytes = stored;
  if (compresses() && applied(compression_index_)) {
    scratch.decoded.reserve_discard(size);
    const std::span<std::byte> out = scratch.decoded.span().first(size);
    compression_ == kFilterZstd ? decode_zstd(bytes, out) : inflate(bytes, out);
    bytes = out;
  }
  if (bytes.size() != size) throw Violation(fmt::format("expected {} bytes, found {}", size, bytes.size()));
  if (shuffled_size_ > 1 && applied(shuffle_index_)) {
    scratch.unshuffled.reserve_discard(size);
    unshuffle(bytes, shuffled_size_, scratch.unshuffled.data());
    bytes = scratch.unshuffled.span().first(size);
  }
  return bytes;
}

}  // namespace kvreplay::hdf5
