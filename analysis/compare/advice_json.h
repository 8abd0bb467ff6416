#pragma once

#include <string>
#include <vector>

#include "analysis/compare/advice.h"

namespace kvreplay {

/// What an advice file says besides the advice.
struct AdviceOrigin {
  std::string creator;
  std::vector<std::string> commands;  ///< that verify it in the live model
  std::vector<std::string> files;     ///< that the best policy reads, as its parameters name them
};

/// One object, format kvreplay-advice (docs/formats/advice.md).
std::string advice_json(const Advice& advice, const AdviceOrigin& origin);

}  // namespace kvreplay
