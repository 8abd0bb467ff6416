#include "tests/support/random_layer.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "tests/support/random_sensitivity.h"

namespace kvreplay::testing {
namespace {

void fill(Tensor& tensor, NormalNumbers& numbers) {
  for (float& x : tensor.values()) x = static_cast<float>(numbers.next());
}

Tensor copied(const Tensor& tensor) {
  Tensor copy(tensor.count(), tensor.rows(), tensor.cols());
  std::ranges::copy(tensor.values(), copy.values().begin());
  return copy;
}

std::vector<reference::Matrix> matrices(const Tensor& tensor) {
  std::vector<reference::Matrix> result;
  for (std::size_t m = 0; m < tensor.count(); ++m) {
    reference::Matrix matrix;
    for (std::size_t r = 0; r < tensor.rows(); ++r) {
      const auto row = tensor.matrix(m).row(r);
      matrix.emplace_back(row.begin(), row.end());
    }
    result.push_back(std::move(matrix));
  }
  return result;
}

}  // namespace

double NormalNumbers::uniform() {
  state_ = state_ * 6364136223846793005u + 1442695040888963407u;
  std::uint64_t x = state_ ^ (state_ >> 33);
  x *= 0xff51afd7ed558ccdu;
  x ^= x >> 33;
  return (static_cast<double>(x >> 11) + 0.5) * 0x1p-53;
}

double NormalNumbers::next() {
  const double radius = std::sqrt(-2 * std::log(uniform()));
  return radius * std::cos(2 * std::numbers::pi * uniform());
}

LayerData random_layer(const LayerShape& shape) {
  LayerData layer;
  layer.model = {.model_id = "random",
                 .n_layers = shape.n_layers,
                 .n_q_heads = shape.n_q_heads,
                 .n_kv_heads = shape.n_kv_heads,
                 .head_dim = shape.head_dim,
                 .value_dim = shape.value_dim,
                 .hidden_size = shape.hidden_size,
                 .softmax_scale = shape.logit_spread / std::sqrt(static_cast<double>(shape.head_dim)),
                 .logit_softcap = shape.softcap,
                 .rope = {}};
  layer.layer = {.index = shape.layer,
                 .sliding_window = shape.sliding_window,
                 .has_output_projection = shape.hidden_size > 0,
                 .rope = {}};
  Rope& rope = layer.layer.rope;
  rope.layout = shape.rope_layout;
  rope.attention_scaling = shape.rope_scaling;
  for (std::size_t pair = 0; pair < shape.rotary_dim / 2; ++pair)
    rope.inv_freq.push_back(std::exp2(-static_cast<double>(pair)));
  const std::vector<Range> everything{{0, shape.n_tokens}};
  for (const Range& range : shape.query_ranges.empty() ? everything : shape.query_ranges)
    for (std::size_t p = range.begin; p < range.end; ++p) layer.query_positions.push_back(p);

  NormalNumbers numbers(shape.seed);
  layer.queries = Tensor(shape.n_q_heads, layer.query_positions.size(), shape.head_dim);
  layer.keys = Tensor(shape.n_kv_heads, shape.n_tokens, shape.head_dim);
  layer.values = Tensor(shape.n_kv_heads, shape.n_tokens, shape.value_dim);
  for (Tensor* tensor : {&layer.queries, &layer.keys, &layer.values}) fill(*tensor, numbers);
  if (shape.hidden_size > 0) {
    layer.output_projection = Tensor(shape.n_q_heads, shape.value_dim, shape.hidden_size);
    fill(layer.output_projection, numbers);
  }
  for (std::size_t i = 0; i < shape.n_tokens; ++i)
    layer.block_cosine.push_back(static_cast<float>(std::tanh(numbers.next())));
  if (!shape.probe_chunks.empty()) {
    const std::size_t n_rows = shape.probe_chunks.back().rows.end;
    layer.probes.emplace(LayerProbes{.chunks = shape.probe_chunks,
                                     .queries = Tensor(shape.n_q_heads, n_rows, shape.head_dim),
                                     .keys = Tensor(shape.n_kv_heads, n_rows, shape.head_dim)});
    fill(layer.probes->queries, numbers);
    fill(layer.probes->keys, numbers);
  }
  return layer;
}

LayerData weighted_layer(const std::vector<std::vector<double>>& weights, const std::vector<double>& powers) {
  LayerData layer = random_layer({.n_q_heads = weights.size() * powers.size(),
                                  .n_kv_heads = weights.size(),
                                  .head_dim = 1,
                                  .value_dim = 1,
                                  .n_tokens = weights[0].size(),
                                  .logit_spread = 1});
  for (std::size_t h = 0; h < layer.queries.count(); ++h)
    for (std::size_t row = 0; row < layer.queries.rows(); ++row)
      layer.queries.matrix(h)(row, 0) = static_cast<float>(powers[h % powers.size()]);
  for (std::size_t g = 0; g < weights.size(); ++g)
    for (std::size_t i = 0; i < weights[g].size(); ++i)
      layer.keys.matrix(g)(i, 0) = static_cast<float>(std::log(weights[g][i]));
  std::ranges::fill(layer.values.values(), 0.0f);
  return layer;
}

LayerData copy_of(const LayerData& layer) {
  LayerData copy;
  copy.model = layer.model;
  copy.layer = layer.layer;
  copy.query_positions = layer.query_positions;
  copy.queries = copied(layer.queries);
  copy.keys = copied(layer.keys);
  copy.values = copied(layer.values);
  copy.output_projection = copied(layer.output_projection);
  copy.block_cosine = layer.block_cosine;
  if (layer.probes)
    copy.probes.emplace(LayerProbes{
        .chunks = layer.probes->chunks, .queries = copied(layer.probes->queries), .keys = copied(layer.probes->keys)});
  if (layer.sensitivity) copy.sensitivity = copy_of(*layer.sensitivity);
  return copy;
}

LayerData with_another_future(const LayerData& layer, std::size_t position) {
  LayerData other = copy_of(layer);
  NormalNumbers numbers(4711);
  const auto change = [&](MatrixView matrix, std::size_t row) {
    for (float& x : matrix.row(row)) x = static_cast<float>(numbers.next());
  };
  for (std::size_t h = 0; h < other.queries.count(); ++h)
    for (std::size_t row = 0; row < other.query_positions.size(); ++row)
      if (other.query_positions[row] >= position) change(other.queries.matrix(h), row);
  for (std::size_t h = 0; h < other.keys.count(); ++h)
    for (std::size_t row = position; row < other.n_tokens(); ++row) {
      change(other.keys.matrix(h), row);
      change(other.values.matrix(h), row);
    }
  for (std::size_t i = position; i < other.block_cosine.size(); ++i)
    other.block_cosine[i] = static_cast<float>(std::tanh(numbers.next()));
  return other;
}

LayerData with_permuted_heads(const LayerData& layer, const std::vector<std::size_t>& order) {
  LayerData permuted = copy_of(layer);
  const auto take = [](Tensor& to, std::size_t to_head, const Tensor& from, std::size_t from_head) {
    for (std::size_t r = 0; r < from.rows(); ++r)
      std::ranges::copy(from.matrix(from_head).row(r), to.matrix(to_head).row(r).begin());
  };
  const std::size_t group = layer.model.group_size();
  for (std::size_t h = 0; h < order.size(); ++h) {
    take(permuted.keys, h, layer.keys, order[h]);
    take(permuted.values, h, layer.values, order[h]);
    if (layer.probes) take(permuted.probes->keys, h, layer.probes->keys, order[h]);
    for (std::size_t g = 0; g < group; ++g) {
      take(permuted.queries, h * group + g, layer.queries, order[h] * group + g);
      if (layer.probes) take(permuted.probes->queries, h * group + g, layer.probes->queries, order[h] * group + g);
      if (!layer.output_projection.empty())
        take(permuted.output_projection, h * group + g, layer.output_projection, order[h] * group + g);
    }
  }
  return permuted;
}

reference::Layer reference_layer(const LayerData& layer) {
  reference::Layer result;
  result.scale = layer.model.softmax_scale;
  result.softcap = layer.model.logit_softcap;
  result.sliding_window = layer.layer.sliding_window;
  const Rope& rope = layer.layer.rope;
  if (rope.layout != RopeLayout::none) result.rope_frequencies = rope.inv_freq;
  result.rope_interleaved = rope.layout == RopeLayout::interleaved;
  result.rope_scaling = rope.attention_scaling;
  result.query_positions = layer.query_positions;
  result.queries = matrices(layer.queries);
  result.keys = matrices(layer.keys);
  result.values = matrices(layer.values);
  result.output_projection = matrices(layer.output_projection);
  if (layer.probes) {
    for (const ProbeChunk& chunk : layer.probes->chunks)
      result.probe_chunks.push_back({chunk.context.begin, chunk.context.end, chunk.rows.begin, chunk.rows.end});
    result.probe_queries = matrices(layer.probes->queries);
    result.probe_keys = matrices(layer.probes->keys);
  }
  return result;
}

}  // namespace kvreplay::testing
