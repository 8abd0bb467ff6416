#include "tests/reference/selection.h"

#include <algorithm>

namespace reference {
namespace {

Positions with(Positions set, std::size_t token) {
  set.push_back(token);
  std::sort(set.begin(), set.end());
  return set;
}

Positions without(Positions set, std::size_t token) {
  std::erase(set, token);
  return set;
}

}  // namespace

Positions added_greedily(std::size_t n, const Worth& worth) {
  Positions set, order, left = positions_between(0, n);
  while (!left.empty()) {
    std::size_t best = left[0];
    double most = worth(with(set, best));
    for (const std::size_t token : left)
      if (const double now = worth(with(set, token)); now > most) {
        most = now;
        best = token;
      }
    set = with(set, best);
    left = without(left, best);
    order.push_back(best);
  }
  return order;
}

Positions removed_greedily(std::size_t n, const Worth& worth) {
  Positions set = positions_between(0, n), order;
  while (!set.empty()) {
    std::size_t best = set[0];
    double most = worth(without(set, best));
    for (const std::size_t token : set)
      if (const double now = worth(without(set, token)); now >= most) {
        most = now;
        best = token;
      }
    set = without(set, best);
    order.push_back(best);
  }
  return order;
}

Positions best_set(std::size_t n, std::size_t k, const Worth& worth) {
  Positions best;
  double most = 0;
  for (std::size_t mask = 0; mask < std::size_t{1} << n; ++mask) {
    Positions set;
    for (std::size_t i = 0; i < n; ++i)
      if (mask >> i & 1) set.push_back(i);
    if (set.size() != k) continue;
    if (const double now = worth(set); best.empty() || now > most) {
      most = now;
      best = set;
    }
  }
  return best;
}

Worth closeness(const Layer& layer, std::size_t kv_head, std::size_t first, std::size_t compression_point) {
  return [&layer, kv_head, first, compression_point](const Positions& set) {
    Positions retained = set;
    for (std::size_t& token : retained) token += first;
    double error = 0;
    for (std::size_t h = kv_head * layer.group_size(); h < (kv_head + 1) * layer.group_size(); ++h)
      error += output_error(layer, h, compression_point, retained).numerator;
    return -error;
  };
}

}  // namespace reference
