#include "policies/shared/learned_model.h"

#include <fmt/format.h>

namespace kvreplay {

std::string other_model(const LearnedPolicy& learned, const ModelInfo& model, bool any_id) {
  if (learned.model_id != model.model_id && !any_id)
    return fmt::format("its file was learned from the model '{}', and this is '{}' (model=any takes it all the same)",
                       learned.model_id, model.model_id);
  if (learned.n_layers != model.n_layers || learned.n_q_heads != model.n_q_heads ||
      learned.n_kv_heads != model.n_kv_heads || learned.head_dim != model.head_dim ||
      learned.value_dim != model.value_dim)
    return fmt::format(
        "its file is for {} layers, {} query heads, {} KV heads, keys of {} and values of {}; the trace has {}, {}, "
        "{}, {} and {}",
        learned.n_layers, learned.n_q_heads, learned.n_kv_heads, learned.head_dim, learned.value_dim, model.n_layers,
        model.n_q_heads, model.n_kv_heads, model.head_dim, model.value_dim);
  return "";
}

}  // namespace kvreplay
