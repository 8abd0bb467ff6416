#pragma once
// What a policy may see when it acts: the cache before the compression point, and the queries recorded there.

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "core/backend.h"
#include "core/evaluation_errors.h"
#include "core/layer_data.h"
#include "core/parameters.h"
#include "core/scores.h"

namespace kvreplay {

/// Names a work unit's sample, for scores made elsewhere and for seeded randomness.
struct UnitIdentity {
  std::size_t sample = 0;         ///< index in the trace
  std::string compression_point;  ///< name
  std::uint64_t seed = 0;         ///< depends on the replay's seed, the trace, the sample and the layer
};

/// Why the last `window` prompt queries (kAll: every query of a candidate) are not to be had, as one clause; "" if they
/// are. \param query_positions  ascending positions of the recorded queries
std::string missing_queries(std::span<const std::size_t> query_positions, Range candidates, std::size_t window);

/// One layer of one sample as a policy sees it at compression point c. Nothing at or after c can be reached, but for
/// oracles through evaluation_attention(). Token index i of everything below stands for position first_position() + i.
///
/// What several scorers need (column sums of attention) is computed on first use and shared.
class PromptView {
 public:
  /// \param data        outlives the view
  /// \param candidates  positions up for eviction: [0, c), or the last window - 1 of them in a sliding layer
  PromptView(const LayerData& data, Range candidates, Backend& backend, UnitIdentity unit = {});

  const ModelInfo& model() const { return data_->model; }
  const LayerInfo& layer() const { return data_->layer; }
  std::size_t n_candidates() const { return candidates_.size(); }
  std::size_t first_position() const { return candidates_.begin; }
  /// Where the policy acts; also the number of tokens in the cache then.
  std::size_t compression_point() const { return candidates_.end; }
  /// [n_candidates] cosine of the residual stream before and after the attention block; empty where not recorded.
  std::span<const float> block_cosine() const;

  ConstMatrixView keys(std::size_t kv_head) const;    ///< [n_candidates, head_dim], after RoPE
  ConstMatrixView values(std::size_t kv_head) const;  ///< [n_candidates, value_dim]

  /// Column sums of causal softmax attention over the last `window` prompt queries (kAll: every query of a candidate).
  /// Result [1, n_q_heads, n_candidates]: sum over queries t in [c - window, c) of a_{t,i}; the softmax runs over all
  /// positions that t sees. Throws InputError naming the missing positions when the trace lacks these queries, and when
  /// the window is longer than the candidates.
  const Tensor& attention_sums(std::size_t window) const;

  /// How many of these queries see candidate i: the divisor that makes a mean of the sum above.
  std::size_t n_seen_by(std::size_t i, std::size_t window) const;

  /// Oracles only: sums over all evaluation queries (positions >= c) of full-cache attention, [1, n_q_heads,
  /// n_candidates]. Throws Error unless look-ahead was granted.
  const Tensor& evaluation_attention() const;
  /// Oracles only: what each query head loses on the evaluation queries under these sets. Throws Error unless
  /// look-ahead was granted. \param projected  after W_O
  EvaluationErrors evaluation_errors(const LayerSelection& selection, bool projected) const;
  /// A view of the same evidence that may look ahead.
  PromptView with_lookahead() const;

  /// Where this unit stands in the replay.
  const UnitIdentity& unit() const { return unit_; }

 private:
  struct Evidence;

  void check_lookahead() const;
  Tensor sum_attention(Range query_rows, std::size_t last_key) const;

  const LayerData* data_;
  Range candidates_;
  Backend* backend_;
  UnitIdentity unit_;
  bool lookahead_ = false;
  std::shared_ptr<Evidence> evidence_;  // shared by all copies of this view; a unit belongs to one thread
};

}  // namespace kvreplay
