#include "tools/cli/trust_option.h"

#include "traces/input/trust.h"

namespace kvreplay {

void declare_trust(Options& options) {
  options.group("Safety");
  options.action("trust-input", trust_input,
                 "read files also where the system cannot confine the process that does it: only files that you trust. "
                 "KVREPLAY_TRUST_INPUT=1 in the environment says the same");
}

}  // namespace kvreplay
