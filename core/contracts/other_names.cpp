#include "core/contracts/other_names.h"

#include <algorithm>
#include <array>

#include "core/base/nearest_name.h"

namespace kvreplay {
namespace {

struct OtherName {
  std::string_view folded;  // folded_name()
  std::string_view here;
};

// Names that differ in spelling alone need no row: nearest_name() sees through that.
constexpr std::array kOtherNames = {
    OtherName{"adakv", "ada-snapkv"},
    OtherName{"criticalkv", "critical-snapkv"},
    OtherName{"fullkv", "full"},
    OtherName{"l2norm", "knorm"},
    OtherName{"leveragescore", "leverage"},
    OtherName{"noncausalattn", "non-causal"},
    OtherName{"observedattn", "observed-attention"},
};

}  // namespace

std::string name_elsewhere(std::string_view name) {
  const auto found = std::ranges::find(kOtherNames, folded_name(name), &OtherName::folded);
  return found == kOtherNames.end() ? "" : std::string(found->here);
}

}  // namespace kvreplay
