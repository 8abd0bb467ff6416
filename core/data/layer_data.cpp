#include "core/data/layer_data.h"

#include <algorithm>

namespace kvreplay {

Range evaluation_rows(const LayerData& layer, std::size_t compression_point) {
  const auto first = std::ranges::lower_bound(layer.query_positions, compression_point);
  return {static_cast<std::size_t>(first - layer.query_positions.begin()), layer.query_positions.size()};
}

}  // namespace kvreplay
