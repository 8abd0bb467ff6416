#pragma once
// Which evaluation queries a study of the answer is about.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/data/trace_info.h"

namespace kvreplay {

/// 1 for the queries that predict the tokens of the spans called `answer`; where none of them is, for those of decoded
/// tokens; where there are none either, for all.
/// \param positions  of the evaluation queries
/// \return [positions.size()]
std::vector<std::uint8_t> target_queries(std::span<const std::size_t> positions, std::span<const Span> spans,
                                         std::size_t decode_start);

}  // namespace kvreplay
