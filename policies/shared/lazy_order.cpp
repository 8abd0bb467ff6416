#include "policies/shared/lazy_order.h"

#include <queue>

namespace kvreplay {
namespace {

struct Bid {
  double cost;
  std::uint32_t item;
  std::size_t n_taken;  // when it was worked out
};

}  // namespace

std::vector<std::uint32_t> lazy_order(std::size_t n, const std::function<double(std::size_t)>& cost,
                                      const std::function<void(std::size_t)>& take, bool lower_first) {
  // priority_queue has the largest on top: `a` below `b` means that b goes first.
  const auto below = [lower_first](const Bid& a, const Bid& b) {
    if (a.cost != b.cost) return a.cost > b.cost;
    return lower_first ? a.item > b.item : a.item < b.item;
  };
  std::vector<Bid> first;
  for (std::uint32_t i = 0; i < n; ++i) first.push_back({cost(i), i, 0});
  std::priority_queue<Bid, std::vector<Bid>, decltype(below)> bids(below, std::move(first));
  std::vector<std::uint32_t> order;
  while (!bids.empty()) {
    Bid bid = bids.top();
    bids.pop();
    if (bid.n_taken == order.size()) {
      take(bid.item);
      order.push_back(bid.item);
    } else {
      bids.push({cost(bid.item), bid.item, order.size()});
    }
  }
  return order;
}

}  // namespace kvreplay
