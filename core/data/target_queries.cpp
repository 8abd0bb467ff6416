#include "core/data/target_queries.h"

#include <algorithm>

namespace kvreplay {

std::vector<std::uint8_t> target_queries(std::span<const std::size_t> positions, std::span<const Span> spans,
                                         std::size_t decode_start) {
  const auto where = [&](const auto& is_target) {
    std::vector<std::uint8_t> targets;
    for (const std::size_t t : positions) targets.push_back(is_target(t) ? 1 : 0);
    return targets;
  };
  const auto any = [](const std::vector<std::uint8_t>& targets) {
    return std::ranges::find(targets, 1) != targets.end();
  };
  // The query at t predicts the token at t + 1.
  std::vector<std::uint8_t> targets = where([&](std::size_t t) {
    return std::ranges::any_of(spans, [&](const Span& span) {
      return span.name == "answer" && span.tokens.begin <= t + 1 && t + 1 < span.tokens.end;
    });
  });
  if (!any(targets)) targets = where([&](std::size_t t) { return t >= decode_start; });
  return any(targets) ? targets : where([](std::size_t) { return true; });
}

}  // namespace kvreplay
