#include "traces/input/chunk_codec.h"

#include <fmt/format.h>
#include <libdeflate.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>

#include "traces/input/violation.h"

namespace kvreplay::hdf5 {
namespace {

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
  std::ranges::copy(in.subspan(n * element_size), out + n * element_size);  // what is less than an element
}

/// HDF5's variant of the checksum: of big-endian 16-bit words, an odd byte at the end being a high one.
std::uint32_t fletcher32(std::span<const std::byte> bytes) {
  constexpr std::size_t kWords = 360;  // so many sums stay below 2^32
  std::uint32_t low = 0, high = 0;
  const auto fold = [](std::uint32_t& sum) { sum = (sum & 0xffff) + (sum >> 16); };
  const auto byte = [&](std::size_t i) { return i < bytes.size() ? std::to_integer<std::uint32_t>(bytes[i]) : 0; };
  for (std::size_t at = 0; at < bytes.size();) {
    for (const std::size_t end = std::min(bytes.size(), at + 2 * kWords); at < end; at += 2) {
      low += byte(at) << 8 | byte(at + 1);
      high += low;
    }
    fold(low);
    fold(high);
  }
  fold(low);
  fold(high);
  return high << 16 | low;
}

/// The bytes before the checksum that ends them.
std::span<const std::byte> checked(std::span<const std::byte> stored) {
  if (stored.size() < sizeof(std::uint32_t)) throw Violation("expected a checksum, found too few bytes");
  const std::span<const std::byte> bytes = stored.first(stored.size() - sizeof(std::uint32_t));
  std::uint32_t found;
  std::memcpy(&found, stored.data() + bytes.size(), sizeof found);
  const std::uint32_t expected = fletcher32(bytes);
  // Old versions of the library swapped the bytes of each half on some machines, and it still reads that.
  const std::uint32_t swapped = (expected & 0x00ff00ff) << 8 | (expected >> 8 & 0x00ff00ff);
  if (found != expected && found != swapped)
    throw Violation(fmt::format("expected checksum {:08x}, found {:08x}", expected, found));
  return bytes;
}

}  // namespace

ChunkCodec::ChunkCodec(std::span<const IndexedFilter> filters) : filters_(!filters.empty()), order_(order_of(filters)) {
  is_zstd_ = compresses() && filters[static_cast<std::size_t>(order_.compression)].id == kZstd;
}

std::uint64_t ChunkCodec::max_ratio() const { return !compresses() ? 1 : is_zstd_ ? kMaxZstdRatio : kMaxDeflateRatio; }

std::span<const std::byte> ChunkCodec::decode(std::span<const std::byte> stored, unsigned mask, std::size_t size,
                                              Scratch& scratch) const {
  const auto applied = [&](int place) { return place != FilterOrder::kNone && (mask >> place & 1) == 0; };
  std::span<const std::byte> bytes = stored;
  if (applied(order_.checksum)) bytes = checked(bytes);
  if (applied(order_.compression)) {
    scratch.decoded.reserve_discard(size);
    const std::span<std::byte> out = scratch.decoded.span().first(size);
    is_zstd_ ? decode_zstd(bytes, out) : inflate(bytes, out);
    bytes = out;
  }
  if (bytes.size() != size) throw Violation(fmt::format("expected {} bytes, found {}", size, bytes.size()));
  if (applied(order_.shuffle) && order_.shuffled_size > 1) {
    scratch.unshuffled.reserve_discard(size);
    unshuffle(bytes, order_.shuffled_size, scratch.unshuffled.data());
    bytes = scratch.unshuffled.span().first(size);
  }
  return bytes;
}

}  // namespace kvreplay::hdf5
