#pragma once
// Walking over the retained sets of a layer, whoever owns them.

#include <cstddef>

#include "core/data/trace_info.h"
#include "core/engine/selection.h"

namespace kvreplay {

/// Calls visit(kv_head, plan, share) for every retained set. A KV head whose query heads keep sets of their own has
/// several, each with an equal share of 1.
template <typename Visit>
void for_each_set(const LayerSelection& selection, const ModelInfo& model, Visit visit) {
  const std::size_t sets_per_head = selection.axis == HeadAxis::kv ? 1 : model.group_size();
  for (std::size_t set = 0; set < selection.heads.size(); ++set)
    visit(set / sets_per_head, selection.heads[set], 1.0 / static_cast<double>(sets_per_head));
}

}  // namespace kvreplay
