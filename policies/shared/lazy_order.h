#pragma once
// Orders in which items are taken one by one, always the cheapest, when costs depend on what was taken before.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace kvreplay {

/// For costs that only grow as others are taken: what an item cost before is a lower bound, so that only those are
/// worked out again whose bound comes up as the least.
/// \param cost         of an item, given all that were taken
/// \param take         takes an item
/// \param lower_first  which of equally cheap items goes first: the lower or the higher one
/// \return             [n] items in the order in which they were taken
std::vector<std::uint32_t> lazy_order(std::size_t n, const std::function<double(std::size_t)>& cost,
                                      const std::function<void(std::size_t)>& take, bool lower_first);

}  // namespace kvreplay
