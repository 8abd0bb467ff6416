#include "core/contracts/learned_policy.h"

#include <algorithm>
#include <stdexcept>

namespace kvreplay {
namespace {

LearnedPolicyReader& reader() {
  static LearnedPolicyReader current = nullptr;
  return current;
}

}  // namespace

bool HeadNetworks::has_seen(std::string_view prompt) const {
  return std::ranges::find(trained_on, prompt) != trained_on.end();
}

const HeadNetworks* LearnedScorer::unseen_by(std::string_view prompt) const {
  if (!networks.has_seen(prompt)) return &networks;
  const auto fold = std::ranges::find_if(folds, [&](const HeadNetworks& each) { return !each.has_seen(prompt); });
  return fold == folds.end() ? nullptr : &*fold;
}

std::optional<std::size_t> LearnedPolicy::place_of(std::size_t layer) const {
  const auto found = std::ranges::find(layers, layer);
  if (found == layers.end()) return std::nullopt;
  return static_cast<std::size_t>(found - layers.begin());
}

void set_learned_policy_reader(LearnedPolicyReader chosen) { reader() = chosen; }

LearnedPolicy read_learned_policy(const std::filesystem::path& path) {
  if (reader() == nullptr) throw std::logic_error("nobody reads learned policies");
  return reader()(path);
}

}  // namespace kvreplay
