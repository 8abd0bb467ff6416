#pragma once
// Allocators: the half of a policy that splits a layer's budget over its heads. One file each in policies/.

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "core/parameters.h"
#include "core/scores.h"

namespace kvreplay {

/// Tokens kept, [n_budgets][n_heads].
using HeadBudgets = std::vector<std::vector<std::size_t>>;

struct Allocator {
  std::string name;
  std::string summary;
  std::string formula;
  std::string paper;
  ParameterTable parameters = {};
  /// \param scores   of all heads of one layer
  /// \param budgets  [n_budgets] mean tokens per head, each at most n_candidates
  HeadBudgets (*allocate)(const Scores& scores, std::span<const std::size_t> budgets, const Parameters& parameters);
};

const std::vector<Allocator>& all_allocators();
/// nullptr when there is none of this name.
const Allocator* find_allocator(std::string_view name);
void add_allocator(Allocator allocator);

struct RegisterAllocator {
  explicit RegisterAllocator(Allocator allocator) { add_allocator(std::move(allocator)); }
};

}  // namespace kvreplay
