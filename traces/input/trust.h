#pragma once
// Whether files may be read where the system cannot confine whoever reads them.

namespace kvreplay {

/// From now on: yes. So says --trust-input.
void trust_input();

/// trust_input() was called, or the environment has KVREPLAY_TRUST_INPUT=1.
bool input_is_trusted();

}  // namespace kvreplay
