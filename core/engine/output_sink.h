#pragma once
// What a replay hands out, panel by panel: the full-cache outputs, and what each policy makes of them at every budget.

#include <algorithm>
#include <cstddef>

#include "core/data/trace_info.h"

namespace kvreplay {

/// Lanes of a panel: queries that are processed together, one SIMD lane each.
inline constexpr std::size_t kPanelWidth = 32;

/// Errors of a panel, of all heads and budgets, that are held at a time: gigabytes, for all policies of a large model.
inline constexpr std::size_t kErrorBytesAtOnce = 256 << 20;

/// Policies whose errors these bytes hold, 1 at least.
inline std::size_t policies_at_once(std::size_t n_policies, std::size_t n_budgets, std::size_t n_q_heads,
                                    std::size_t value_dim) {
  const std::size_t bytes = n_budgets * n_q_heads * value_dim * kPanelWidth * sizeof(float);
  return std::clamp<std::size_t>(kErrorBytesAtOnce / bytes, 1, std::max<std::size_t>(1, n_policies));
}

/// Full-cache outputs of one query head for up to kPanelWidth evaluation queries.
struct PanelReference {
  std::size_t q_head = 0;
  std::size_t n_queries = 0;       ///< lanes in use; the others hold finite values without meaning
  const float* outputs = nullptr;  ///< [value_dim, kPanelWidth]
};

/// What one policy does to the same queries, at every budget.
struct PanelOutputs {
  std::size_t policy = 0;
  std::size_t q_head = 0;
  std::size_t n_queries = 0;
  const float* reference = nullptr;  ///< [value_dim, kPanelWidth]: full-cache outputs
  /// [n_budgets, value_dim, kPanelWidth]: retained-cache output minus full-cache output; nullptr where a backend knows
  /// that nobody reads them, OutputSink::reads_errors()
  const float* errors = nullptr;
  const float* squared_errors = nullptr;  ///< [n_budgets, kPanelWidth]: their squared norms
  const float* recall = nullptr;          ///< [n_budgets, kPanelWidth]: softmax mass on retained and local tokens
};

/// Takes the outputs of one work unit. Panel by panel of queries, for some policies at a time, a replay calls for each
/// query head add_reference() (only with the first policies of a panel) and after that add_outputs() for each of these
/// policies; at last end_panel(). Calls for different heads, and add_outputs() for different policies, may come from
/// several threads at once: each may touch only what belongs to its head and policy.
class OutputSink {
 public:
  virtual ~OutputSink() = default;
  virtual void add_reference(const PanelReference& /*panel*/) {}
  virtual void add_outputs(const PanelOutputs& panel) = 0;
  /// \param policies  whose outputs came since the last call
  virtual void end_panel(Range /*policies*/) {}
  /// Whether add_outputs() looks at PanelOutputs::errors. Where no sink does, they may be nullptr: vectors are a
  /// hundred times what their norms are, and a device would have to send them.
  virtual bool reads_errors() const { return true; }
};

}  // namespace kvreplay
