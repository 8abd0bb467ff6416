#pragma once
// --trust-input.

#include "tools/cli/options.h"

namespace kvreplay {

void declare_trust(Options& options);

}  // namespace kvreplay
