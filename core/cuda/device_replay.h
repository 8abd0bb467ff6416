#pragma once
// Backend::replay() on a device: weights, cell sums and errors of all query heads, many queries and all policies in a
// few launches. Only norms, recalls and full outputs come back, and errors where somebody reads them.

#include <span>

#include "core/base/scratch_pool.h"
#include "core/cuda/gpu.h"
#include "core/engine/backend.h"
#include "core/engine/output_sink.h"

namespace kvreplay::cuda {

/// What comes back from a device.
struct ReplayResults {
  PinnedBuffer<float> reference;  ///< [n_q_heads, n_panels, value_dim, kPanelWidth]
  PinnedBuffer<float> squares;    ///< [n_policies, n_q_heads, n_panels, n_budgets, kPanelWidth]
  PinnedBuffer<float> recall;     ///< the same
  PinnedBuffer<float> errors;     ///< [n_policies, n_q_heads, n_panels, n_budgets, value_dim, kPanelWidth]
};

/// \param layer    input.layer on the device
/// \param results  kept from call to call
void replay_on_device(const ReplayInput& input, std::span<const LayerSelection> selections,
                      std::span<OutputSink* const> sinks, Tensor* outputs, Gpu& gpu, const HeldLayer& layer,
                      ScratchPool<ReplayResults>& results);

}  // namespace kvreplay::cuda
