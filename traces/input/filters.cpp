#include "traces/input/filters.h"

namespace kvreplay::hdf5 {

FilterOrder order_of(std::span<const IndexedFilter> filters) {
  FilterOrder order;
  for (int i = 0; i < static_cast<int>(filters.size()); ++i) {
    const IndexedFilter& filter = filters[static_cast<std::size_t>(i)];
    const bool compresses = filter.id == kDeflate || filter.id == kZstd;
    if (filter.id == kShuffle && i == 0 && !filter.parameters.empty() && filter.parameters[0] > 0) {
      order.shuffle = i;
      order.shuffled_size = filter.parameters[0];
    } else if (compresses && order.compression == FilterOrder::kNone && order.checksum == FilterOrder::kNone) {
      order.compression = i;
    } else if (filter.id == kFletcher32 && order.checksum == FilterOrder::kNone) {
      order.checksum = i;
    } else {
      order.is_ours = false;
    }
  }
  return order;
}

}  // namespace kvreplay::hdf5
