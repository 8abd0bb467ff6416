#pragma once
// A part of a dataset: some indices of one dimension, everything else whole.

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "core/data/dataset.h"

namespace kvreplay {

/// \param indices  of `dimension`, in the order wanted; each smaller than its size
/// Throws InputError when there is no such dimension.
Dataset take(const Dataset& dataset, std::string_view dimension, std::span<const std::size_t> indices);

/// Elements to step over for the next index of each dimension of a row-major array with these sizes.
std::vector<std::size_t> row_major_strides(std::span<const std::size_t> sizes);

}  // namespace kvreplay
