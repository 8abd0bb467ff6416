#pragma once
// The grammar of policies: text to table rows.

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/contracts/policy.h"

namespace kvreplay {

/// A row with the parameters that were written after its name.
template <typename Row>
struct NamedPart {
  const Row* row = nullptr;
  std::string parameters;
};

struct PolicyText {
  /// A preset's name, with the parameters given unless there is a file among them (which has a path); "" where no
  /// preset was named.
  std::string label;
  NamedPart<Scorer> scorer;
  std::vector<NamedPart<Modifier>> modifiers;
  std::vector<NamedPart<Allocator>> allocators;  ///< as written: up to one that splits layers, up to one for heads
};

/// \param extra  scorers besides the registered ones
/// Throws UsageError: unknown names (with the known ones and the nearest), parts that do not go together.
PolicyText parse_policy(std::string_view text, std::span<const Scorer> extra);

/// `given` after `own`, without those of its parameters that are given anew.
std::string merged_parameters(std::string_view own, std::string_view given);

}  // namespace kvreplay
