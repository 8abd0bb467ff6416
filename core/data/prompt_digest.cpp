#include "core/data/prompt_digest.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <xxhash.h>

#include <algorithm>
#include <bit>

namespace kvreplay {

std::string prompt_digest(const SampleInfo& sample) {
  static_assert(std::endian::native == std::endian::little);
  const std::size_t n = std::min(sample.decode_start, sample.token_ids.size());
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(sample.token_ids.data(), n * sizeof(std::int32_t)));
  return fmt::format("{:02x}", fmt::join(canonical.digest, ""));
}

}  // namespace kvreplay
