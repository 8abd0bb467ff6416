#include "traces/synthetic/synthetic_sensitivity.h"

#include <algorithm>

namespace kvreplay {
namespace {

constexpr std::size_t kKeepFirst = 4;
constexpr std::size_t kMemory = 16;  // queries after which a gradient has halved
constexpr float kDeviation = 0.02f;  // of a gradient: predictions of some tenths of a nat
constexpr float kWidest = 3.5f;      // normal numbers stay within: CounterRng::normal()
constexpr float kLargest = 127;

}  // namespace

SensitivityInfo synthetic_sensitivity(const CompressionPoint& point, std::size_t n_sketches, std::size_t n_queries,
                                      std::size_t first_decoded, const CounterRng& rng) {
  SensitivityInfo info;
  info.compression_point = point.name;
  info.keep_first = std::min(kKeepFirst, point.position);
  const std::size_t first_target = first_decoded < n_queries ? first_decoded : 0;
  for (std::size_t t = 0; t < n_queries; ++t) info.target_mask.push_back(t >= first_target ? 1 : 0);
  for (std::size_t r = 0; r < n_sketches; ++r) {
    info.level.push_back(static_cast<float>(r % 4) / 4);
    info.seed.push_back(rng.bits(r));
    info.perturbed_kl.push_back(info.level.back() * info.level.back());
  }
  return info;
}

SyntheticGradient synthetic_gradient(const SensitivityInfo& info, std::size_t width, const CounterRng& rng) {
  SyntheticGradient gradient;
  for (std::size_t r = 0; r < info.n_sketches(); ++r)
    for (std::size_t t = 0; t < info.n_queries(); ++t) {
      const CounterRng row = rng.stream(r, t);
      const float deviation = kDeviation / static_cast<float>(1 + t / kMemory);
      gradient.scale.push_back(deviation * kWidest / kLargest);
      for (std::size_t i = 0; i < width; ++i)
        gradient.values.push_back(static_cast<std::int8_t>(row.normal(i) / kWidest * kLargest));
    }
  return gradient;
}

}  // namespace kvreplay
