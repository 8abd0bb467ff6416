#pragma once
// The dynamic shared memory of the block that runs.

#include "tests/cuda_emulation/thread_block.h"

namespace kvreplay::emulation {

/// Empty shared memory for a new block, with ThreadSanitizer's memory of the last one gone.
/// \return tokens, which lie beside it for that reason
SyncTokens* begin_shared_memory();

/// After the block's last thread.
void end_shared_memory();

}  // namespace kvreplay::emulation
