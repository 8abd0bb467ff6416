#pragma once
// Names a prompt by its tokens: what was learned from it must not be judged on it.

#include <string>

#include "core/data/trace_info.h"

namespace kvreplay {

/// XXH3-128 of the token ids before decode_start, as little-endian int32: 32 hex digits. The same for every recording
/// of the prompt.
std::string prompt_digest(const SampleInfo& sample);

}  // namespace kvreplay
