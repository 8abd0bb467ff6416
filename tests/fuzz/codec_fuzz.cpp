// Stored bytes of a chunk, of any filters: they decode to as many bytes as the chunk has, or are refused.

#include <cstdlib>

#include "traces/input/chunk_codec.h"
#include "traces/input/violation.h"

using namespace kvreplay::hdf5;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t kHead = 4;
  if (size < kHead) return 0;
  // The first bytes choose the filters, those that are left out, and the size of the chunk.
  std::vector<IndexedFilter> filters;
  if (data[0] & 1) filters.push_back({kShuffle, "", {1u + (data[0] >> 4)}});
  if (data[0] & 2) filters.push_back({data[0] & 4 ? kZstd : kDeflate, "", {}});
  if (data[0] & 8) filters.push_back({kFletcher32, "", {}});
  const unsigned mask = data[1] & 7;
  const std::size_t chunk = data[2] + 256u * data[3];
  ChunkCodec::Scratch scratch;
  try {
    const auto decoded =
        ChunkCodec(filters).decode(std::as_bytes(std::span(data + kHead, size - kHead)), mask, chunk, scratch);
    if (decoded.size() != chunk) std::abort();
    std::byte all{};
    for (const std::byte byte : decoded) all ^= byte;  // all of it is there to be read
    volatile std::byte sink = all;
    static_cast<void>(sink);
  } catch (const Violation&) {
  }
  return 0;
}
