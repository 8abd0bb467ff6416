#pragma once
// What a synthetic sample is about, token by token: sinks, needles, topics. The same for all its layers and heads.

#include <optional>

#include "core/data/trace_info.h"
#include "traces/synthetic/counter_rng.h"
#include "traces/synthetic/synthetic_trace.h"

namespace kvreplay {

/// First ids of the random streams below the seed: of one sample, of a head's weights, of a layer's output projection.
enum SyntheticStream : std::uint64_t { sample_stream, head_stream, projection_stream };

/// Streams below that of a sample.
enum class SampleStream : std::uint64_t {
  token_ids,
  token_clusters,
  topics,
  needle_places,
  heads,
  block_cosines,
  sensitivities
};

/// The topic drifts from one cluster to the next.
struct TopicMix {
  std::size_t from = 0, to = 0;  ///< clusters
  float weight = 0;              ///< of `to`, in [0, 1)
};

class SyntheticText {
 public:
  SyntheticText(const SyntheticTraceOptions& options, std::size_t sample);

  CounterRng rng(SampleStream what) const { return rng_.stream(static_cast<std::uint64_t>(what)); }
  std::size_t n_context() const { return n_context_; }
  bool is_sink(std::size_t token) const { return token < n_sinks_; }
  std::int32_t token_id(std::size_t token) const;

  /// The cluster that a token belongs to, mostly that of its topic.
  std::size_t cluster(std::size_t token) const;
  TopicMix topic(std::size_t token) const;

  Range needle(std::size_t index) const;
  /// The needle that a token is part of.
  std::optional<std::size_t> needle_at(std::size_t token) const;
  /// The needle that a query looks for: those of question and answer take turns, no other query looks for any.
  std::optional<std::size_t> needle_sought(std::size_t position) const;

 private:
  CounterRng rng_;
  std::size_t n_context_, n_sinks_, n_clusters_, n_needles_, needle_length_;
  std::size_t needle_slot_;  ///< tokens; each needle lies somewhere in a slot of its own
};

}  // namespace kvreplay
