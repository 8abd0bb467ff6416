#pragma once
// Retained sets through recorded attention, panel by panel over a backend's primitives: all selections and all their
// budgets in one walk over the tokens.

#include <span>

#include "core/engine/backend.h"

namespace kvreplay {

/// What Backend::replay() does where no backend has something better.
void replay_panels(const ReplayInput& input, std::span<const LayerSelection> selections,
                   std::span<OutputSink* const> sinks, Backend& backend, Tensor* outputs);

}  // namespace kvreplay
