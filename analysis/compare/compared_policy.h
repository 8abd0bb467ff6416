#pragma once
// The policies of a comparison: who competes, and who is a line to measure by.

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "analysis/compare/results.h"

namespace kvreplay {

struct ComparedPolicy {
  std::string name;
  std::string parameters;  ///< every one written out
  bool oracle = false;
  bool keeps_all = false;  ///< retains everything at every budget
  /// Budgets, by index, at which the policy's window, which it keeps before any score counts, takes the whole budget
  /// in every case and layer.
  std::vector<std::size_t> below_window = {};
  std::size_t window =
      0;  ///< the newest tokens that it keeps so, where `below_window` has budgets: the most of any layer
  bool has_sinks = false;   ///< it keeps the first tokens likewise
  bool overspends = false;  ///< keeps far more than some budget asks for: what it keeps is an outcome, not the budget

  /// A line to measure by, not a contestant.
  bool is_reference() const { return oracle || keeps_all || overspends; }
};

/// The policies of the results, in their order.
std::vector<ComparedPolicy> describe_policies(const Results& results);

/// The policy of this name, with parameters or without.
std::optional<std::size_t> find_policy(std::span<const std::string> names, std::string_view name);

/// Indices of those that are no references.
std::vector<std::size_t> contestants(std::span<const ComparedPolicy> policies);

}  // namespace kvreplay
