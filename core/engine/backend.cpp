#include "core/engine/backend.h"

#include "core/engine/selection_replay.h"

namespace kvreplay {

AttentionRule attention_rule(const ModelInfo& model, const LayerInfo& layer) {
  return {.scale = model.softmax_scale, .softcap = model.logit_softcap, .sliding_window = layer.sliding_window};
}

void Backend::replay(const ReplayInput& input, std::span<const LayerSelection> selections,
                     std::span<OutputSink* const> sinks, Tensor* outputs) {
  replay_panels(input, selections, sinks, *this, outputs);
}

}  // namespace kvreplay
