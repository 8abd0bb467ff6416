#pragma once
// Random sensitivities for layers of tests.

#include <cstdint>

#include "core/data/layer_data.h"
#include "tests/reference/sensitivity.h"

namespace kvreplay::testing {

/// Levels 0, 1/4, 1/2, 3/4 in turn; all evaluation queries but the first two are targets.
LayerSensitivity random_sensitivity(const LayerData& layer, std::size_t compression_point, std::size_t n_sketches,
                                    std::uint64_t seed);

LayerSensitivity copy_of(const LayerSensitivity& sensitivity);

/// The gradients unpacked.
reference::Sensitivity reference_sensitivity(const LayerData& layer);

}  // namespace kvreplay::testing
