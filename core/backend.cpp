#include "core/backend.h"

namespace kvreplay {

AttentionRule attention_rule(const ModelInfo& model, const LayerInfo& layer) {
  return {.scale = model.softmax_scale, .softcap = model.logit_softcap, .sliding_window = layer.sliding_window};
}

}  // namespace kvreplay
