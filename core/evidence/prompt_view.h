#pragma once
// What a policy may see when it acts: the cache before the compression point, and the queries recorded there.

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <typeindex>
#include <utility>

#include "core/base/parallel.h"
#include "core/data/layer_data.h"
#include "core/engine/backend.h"
#include "core/evidence/evaluation_errors.h"
#include "core/evidence/evaluation_weights.h"
#include "core/evidence/predicted_damage.h"

namespace kvreplay {

/// Names a work unit's sample: for scores made elsewhere, for what was learned from it, and for seeded randomness.
struct UnitIdentity {
  std::size_t sample = 0;              ///< index in the trace
  std::string compression_point = {};  ///< name
  std::uint64_t seed = 0;              ///< depends on the replay's seed, the trace, the sample and the layer
  std::string prompt = {};             ///< prompt_digest() of the sample
  std::string trace = {};              ///< fingerprint of the recording
  /// Keeps the layer's data alive for arrays outside that look at parts of it; may be empty.
  std::shared_ptr<const void> owner = {};
};

/// Why the last `window` prompt queries (kAll: every query of a candidate) are not to be had, as one clause; "" if they
/// are.
/// \param query_positions  ascending positions of the recorded queries
std::string missing_queries(std::span<const std::size_t> query_positions, Range candidates, std::size_t window);

/// One layer of one sample as a policy sees it at compression point c. Nothing at or after c can be reached, but for
/// oracles through the evaluation_*() below. Token index i of everything below stands for position first_position() +
/// i.
///
/// What several scorers need (evidence: column sums of attention, moments of queries, norms of values, ...) is computed
/// on first use and shared through remember(); core/evidence has a file for each kind.
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

  /// The whole cache at the compression point, row i at position i: what the last prompt queries of a sliding layer see
  /// begins before the first candidate. [c, head_dim] and [c, value_dim]
  ConstMatrixView cached_keys(std::size_t kv_head) const;
  ConstMatrixView cached_values(std::size_t kv_head) const;

  /// The last `window` prompt queries of a query head (kAll: every query of a candidate), [window, head_dim], after
  /// RoPE; row r at position c - window + r. Throws InputError naming the missing positions when the trace lacks these
  /// queries, and when the window is longer than the candidates.
  ConstMatrixView queries(std::size_t q_head, std::size_t window) const;

  /// W_O of a query head, [value_dim, hidden_size]. Throws InputError when it is not recorded in this layer.
  ConstMatrixView output_projection(std::size_t q_head) const;

  /// The probe of this compression point. Throws InputError when the trace has none.
  const LayerProbes& probes() const;

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
  /// Oracles and metrics only: the evaluation queries of a query head (positions >= c), [any, head_dim], after RoPE.
  /// Throws Error unless look-ahead was granted.
  ConstMatrixView evaluation_queries(std::size_t q_head) const;
  /// Oracles only: what each query head loses on the evaluation queries under these sets. Throws Error unless
  /// look-ahead was granted.
  /// \param projected  after W_O
  EvaluationErrors evaluation_errors(const LayerSelection& selection, bool projected) const;
  /// Oracles only: what the model is predicted to lose under these sets of each head alone,
  /// [selection.heads][n_budgets] (core/evidence/predicted_damage.h). Throws Error unless look-ahead was granted,
  /// InputError without sensitivities.
  std::vector<std::vector<double>> predicted_damage(const LayerSelection& selection) const;
  /// Oracles only: how the evaluation queries that read a KV head spread their attention, in all of their panels or in
  /// some; made anew by each call. Throws Error unless look-ahead was granted.
  EvaluationWeights evaluation_weights(std::size_t kv_head) const;
  EvaluationWeights evaluation_weights(std::size_t kv_head, Range panels) const;
  std::size_t n_evaluation_panels() const;
  /// A view of the same evidence that may look ahead.
  PromptView with_lookahead() const;

  /// Where this unit stands in the replay.
  const UnitIdentity& unit() const { return unit_; }

  /// For evidence: what computes it.
  Backend& backend() const { return *backend_; }

  /// What `make` returns (a T), made once for this unit and this name, and shared by all copies of the view.
  /// Safe to call from several threads.
  template <typename T, typename Make>
  const T& remember(const std::string& name, const Make& make) const {
    MadeOnce& evidence = evidence_->find({std::type_index(typeid(T)), name});
    return *static_cast<const T*>(evidence.get([&] { return std::make_shared<const T>(make()); }).get());
  }

 private:
  class Evidence {
   public:
    MadeOnce& find(const std::pair<std::type_index, std::string>& key) {
      const std::lock_guard lock(mutex_);
      return made_[key];
    }

   private:
    std::mutex mutex_;
    std::map<std::pair<std::type_index, std::string>, MadeOnce> made_;
  };

  void check_lookahead() const;
  Range query_rows(std::size_t window) const;
  Tensor sum_attention(Range query_rows, std::size_t last_key) const;

  const LayerData* data_;
  Range candidates_;
  Backend* backend_;
  UnitIdentity unit_;
  bool lookahead_ = false;
  std::shared_ptr<Evidence> evidence_;  // shared by all copies of this view
};

}  // namespace kvreplay
