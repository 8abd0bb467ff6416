#pragma once
// --backend and --device.

#include "tools/cli/options.h"
#include "tools/replay/backend_choice.h"

namespace kvreplay {

void declare_backend(Options& options, BackendOptions& backend);

}  // namespace kvreplay
