#include "tests/support/random_sensitivity.h"

#include <algorithm>
#include <cmath>

#include "tests/support/random_layer.h"

namespace kvreplay::testing {

LayerSensitivity random_sensitivity(const LayerData& layer, std::size_t compression_point, std::size_t n_sketches,
                                    std::uint64_t seed) {
  LayerSensitivity sensitivity;
  sensitivity.n_queries = static_cast<std::size_t>(layer.query_positions.end() -
                                                   std::ranges::lower_bound(layer.query_positions, compression_point));
  sensitivity.n_targets = sensitivity.n_queries > 2 ? sensitivity.n_queries - 2 : 1;
  NormalNumbers numbers(seed);
  const std::size_t width = layer.model.n_q_heads * layer.model.value_dim;
  sensitivity.gradient = Buffer<std::int8_t>(n_sketches * sensitivity.n_queries * width);
  for (std::int8_t& x : sensitivity.gradient.span())
    x = static_cast<std::int8_t>(std::clamp(40 * numbers.next(), -127.0, 127.0));
  for (std::size_t r = 0; r < n_sketches; ++r) {
    sensitivity.level.push_back(static_cast<float>(r % 4) / 4);
    for (std::size_t t = 0; t < sensitivity.n_queries; ++t)
      sensitivity.scale.push_back(static_cast<float>(0.01 * std::exp(numbers.next())));
  }
  return sensitivity;
}

LayerSensitivity copy_of(const LayerSensitivity& sensitivity) {
  LayerSensitivity copy{.level = sensitivity.level,
                        .n_targets = sensitivity.n_targets,
                        .n_queries = sensitivity.n_queries,
                        .gradient = Buffer<std::int8_t>(sensitivity.gradient.size()),
                        .scale = sensitivity.scale};
  std::ranges::copy(sensitivity.gradient.span(), copy.gradient.span().begin());
  return copy;
}

reference::Sensitivity reference_sensitivity(const LayerData& layer) {
  const LayerSensitivity& from = *layer.sensitivity;
  const std::size_t width = layer.model.n_q_heads * layer.model.value_dim;
  reference::Sensitivity to;
  to.n_targets = static_cast<double>(from.n_targets);
  to.level.assign(from.level.begin(), from.level.end());
  for (std::size_t r = 0; r < from.n_sketches(); ++r) {
    reference::Matrix& sketch = to.gradient.emplace_back();
    for (std::size_t t = 0; t < from.n_queries; ++t) {
      const std::size_t row = r * from.n_queries + t;
      reference::Vector& gradient = sketch.emplace_back();
      for (std::size_t i = 0; i < width; ++i)
        gradient.push_back(double{from.scale[row]} * from.gradient[row * width + i]);
    }
  }
  return to;
}

}  // namespace kvreplay::testing
