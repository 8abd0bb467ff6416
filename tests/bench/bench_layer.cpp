#include "tests/bench/bench_layer.h"

#include <cmath>
#include <random>

namespace kvreplay::bench {
namespace {

void fill(Tensor& tensor, std::mt19937& generator) {
  std::normal_distribution<float> normal;
  for (float& x : tensor.values()) x = normal(generator);
}

}  // namespace

LayerData make_layer(std::size_t n_tokens, std::size_t compression_point, std::size_t n_prompt_queries,
                     std::size_t n_q_heads, std::size_t n_kv_heads, std::size_t dim) {
  std::mt19937 generator(1);
  LayerData data;
  data.model.n_layers = 1;
  data.model.n_q_heads = n_q_heads;
  data.model.n_kv_heads = n_kv_heads;
  data.model.head_dim = data.model.value_dim = dim;
  data.model.hidden_size = n_q_heads * dim;
  data.model.softmax_scale = 1 / std::sqrt(static_cast<double>(dim));
  for (std::size_t p = compression_point - n_prompt_queries; p < n_tokens; ++p) data.query_positions.push_back(p);
  data.queries = Tensor(n_q_heads, data.query_positions.size(), dim);
  data.keys = Tensor(n_kv_heads, n_tokens, dim);
  data.values = Tensor(n_kv_heads, n_tokens, dim);
  data.output_projection = Tensor(n_q_heads, dim, data.model.hidden_size);
  for (Tensor* tensor : {&data.queries, &data.keys, &data.values, &data.output_projection}) fill(*tensor, generator);
  return data;
}

}  // namespace kvreplay::bench
