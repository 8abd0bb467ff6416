#pragma once
// Layers of any shape, filled from a seed, and the same layers as the reference wants them.

#include <cstdint>
#include <vector>

#include "core/data/layer_data.h"
#include "tests/reference/reference.h"

namespace kvreplay::testing {

struct LayerShape {
  std::size_t n_q_heads = 4;
  std::size_t n_kv_heads = 2;
  std::size_t head_dim = 8;
  std::size_t value_dim = 8;
  std::size_t hidden_size = 0;  ///< 0: without W_O
  std::size_t n_tokens = 50;
  std::size_t sliding_window = 0;
  std::size_t layer = 0;     ///< index in the model
  std::size_t n_layers = 1;  ///< of the model
  double softcap = 0;
  double logit_spread = 2;               ///< standard deviation of the logits, before the softcap
  std::vector<Range> query_ranges = {};  ///< positions whose queries are recorded; empty: all
  RopeLayout rope_layout = RopeLayout::none;
  std::size_t rotary_dim = 0;  ///< even; frequencies 1, 1/2, 1/4, ...: angles are exact in float32
  double rope_scaling = 1;
  std::vector<ProbeChunk> probe_chunks = {};  ///< empty: without probes
  std::uint64_t seed = 1;
};

/// Queries, keys and values of independent normal numbers, block cosines between -1 and 1.
LayerData random_layer(const LayerShape& shape);

/// A layer to work by hand: every query gives token i of KV head g the softmax weight weights[g][i] (before normalising
/// over what it sees), to the power powers[h] for the h-th query head of the group. Values are 0, head_dim and
/// value_dim 1.
LayerData weighted_layer(const std::vector<std::vector<double>>& weights, const std::vector<double>& powers = {1});

LayerData copy_of(const LayerData& layer);

/// A copy in which every key, value and query at or after `position` is another one.
LayerData with_another_future(const LayerData& layer, std::size_t position);

/// A copy whose KV head h is KV head order[h] of `layer`, with the query heads of its group.
LayerData with_permuted_heads(const LayerData& layer, const std::vector<std::size_t>& order);

reference::Layer reference_layer(const LayerData& layer);

/// Standard normal numbers, the same on every machine.
class NormalNumbers {
 public:
  explicit NormalNumbers(std::uint64_t seed) : state_(seed) {}
  double next();

 private:
  double uniform();
  std::uint64_t state_;
};

}  // namespace kvreplay::testing
