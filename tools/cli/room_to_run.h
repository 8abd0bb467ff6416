#pragma once
// Whether a limit on the address space leaves enough to begin at all.

#include <ostream>

namespace kvreplay {

/// False where it does not: then `err` has a line about it. What links OpenBLAS hangs without that room, even when it
/// ends.
bool has_room_to_run(std::ostream& err);

}  // namespace kvreplay
