#pragma once
// The keys, values and queries of one synthetic KV head and its query heads, any block of tokens at a time.

#include "core/base/matrix.h"
#include "traces/synthetic/counter_rng.h"
#include "traces/synthetic/synthetic_rope.h"
#include "traces/synthetic/synthetic_text.h"
#include "traces/synthetic/synthetic_trace.h"

namespace kvreplay {

/// What a head mostly attends to: KV head h of layer l is the ((l + h) mod 3)-th of these.
enum class HeadKind { retrieval, local, sink };

constexpr HeadKind kind_of_head(std::size_t layer, std::size_t kv_head) {
  return static_cast<HeadKind>((layer + kv_head) % 3);
}

/// Rows are built from directions with coefficients, plus noise, so that a logit is a sum of designed parts:
/// the rotary half of the dimensions holds recency, the other half an axis that all queries share (sinks, and how
/// salient a token is whoever asks), the clusters' centres and one direction per needle.
class SyntheticHead {
 public:
  /// `options`, `text` and `rope` must outlive the head.
  SyntheticHead(const SyntheticTraceOptions& options, const SyntheticText& text, const SyntheticRope& rope,
                std::size_t layer, std::size_t kv_head);

  /// Fill the rows of the tokens from `first` on, which must lie in one block of SyntheticRope::kBlock positions.
  /// \param rows  [n, head_dim or value_dim]
  /// \param member  which of the group's query heads, [0, group_size)
  void fill_keys(std::size_t first, MatrixView rows) const;
  void fill_values(std::size_t first, MatrixView rows) const;
  void fill_queries(std::size_t member, std::size_t first, MatrixView rows) const;

 private:
  const SyntheticTraceOptions& options_;
  const SyntheticText& text_;
  const SyntheticRope& rope_;
  float topic_bonus_;  ///< logits
  HeadKind kind_;
  std::size_t content_begin_;   ///< first dimension behind the rotary ones
  CounterRng weights_;          ///< of the model: the same in all samples
  CounterRng tokens_;           ///< of this sample
  std::vector<float> recency_;  ///< [2 n_pairs], unit vectors in the rotated planes
  std::vector<float> shared_;   ///< [content dims], unit
  Tensor centres_;              ///< [1, n_clusters, content dims], unit, orthogonal to shared_
  Tensor needles_;              ///< [1, n_needles, content dims], likewise
  Tensor cluster_values_;       ///< [1, n_clusters, value_dim]
  Tensor needle_values_;        ///< [1, n_needles, value_dim]
};

}  // namespace kvreplay
