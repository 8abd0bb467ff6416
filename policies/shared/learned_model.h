#pragma once
// Whether what was learned is of the model at hand: for scorers and allocators that read learned policies.

#include <string>

#include "core/contracts/learned_policy.h"
#include "core/data/trace_info.h"

namespace kvreplay {

/// How the file's model differs from the trace's, as one clause; "" when it does not.
/// \param any_id  the model may have another name, of the same shape
std::string other_model(const LearnedPolicy& learned, const ModelInfo& model, bool any_id);

}  // namespace kvreplay
