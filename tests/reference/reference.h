#pragma once
// What kvreplay must compute, in plain float64 loops. Shares no code with the program: slow, and obvious.

#include <cstddef>
#include <vector>

namespace reference {

using Vector = std::vector<double>;
using Matrix = std::vector<Vector>;          // [rows][cols]
using Positions = std::vector<std::size_t>;  // of tokens, ascending

/// Probe rows [first_row, last_row) repeat the tokens [first_token, last_token); ends are excluded.
struct ProbeChunk {
  std::size_t first_token, last_token, first_row, last_row;
};

/// One layer of one sample. Query head h reads KV head h / (n_q_heads / n_kv_heads).
struct Layer {
  double scale = 1;
  double softcap = 0;                     ///< 0: none
  std::size_t sliding_window = 0;         ///< 0: none
  Positions query_positions;              ///< [n_recorded]
  std::vector<Matrix> queries;            ///< [n_q_heads][n_recorded][head_dim]
  std::vector<Matrix> keys;               ///< [n_kv_heads][n_tokens][head_dim]
  std::vector<Matrix> values;             ///< [n_kv_heads][n_tokens][value_dim]
  std::vector<Matrix> output_projection;  ///< [n_q_heads][value_dim][hidden_size], empty without W_O

  Vector rope_frequencies;        ///< radians per position of each pair; empty without RoPE
  bool rope_interleaved = false;  ///< pairs (2i, 2i + 1), else (i, i + number of pairs)
  double rope_scaling = 1;
  std::vector<ProbeChunk> probe_chunks;
  std::vector<Matrix> probe_queries;  ///< [n_q_heads][n_rows][head_dim]
  std::vector<Matrix> probe_keys;     ///< [n_kv_heads][n_rows][head_dim]

  std::size_t n_tokens() const { return keys[0].size(); }
  std::size_t group_size() const { return queries.size() / keys.size(); }
};

// ---- attention

/// begin, begin + 1, ..., end - 1
Positions positions_between(std::size_t begin, std::size_t end);
/// What a query may look at after a policy acted at `compression_point`: the retained tokens and all later ones.
Positions retained_and_local(const Layer& layer, const Positions& retained, std::size_t compression_point);
/// Rows of the recorded queries at or after `compression_point`.
std::vector<std::size_t> evaluation_rows(const Layer& layer, std::size_t compression_point);

/// Softmax attention [n_tokens] of a recorded query over those tokens of `cache` that it sees; 0 elsewhere.
Vector attention(const Layer& layer, std::size_t q_head, std::size_t row, const Positions& cache);
/// [value_dim]
Vector output(const Layer& layer, std::size_t q_head, std::size_t row, const Positions& cache);
Vector full_output(const Layer& layer, std::size_t q_head, std::size_t row);
/// Share of the full softmax that falls on `cache`.
double mass(const Layer& layer, std::size_t q_head, std::size_t row, const Positions& cache);
/// [n_tokens]: full attention summed over the recorded queries at positions [begin, end).
Vector column_sums(const Layer& layer, std::size_t q_head, std::size_t begin, std::size_t end);

Vector difference(const Vector& a, const Vector& b);
double norm(const Vector& x);
/// W^T x, [hidden_size], of a query head's block of the output projection [value_dim][hidden_size].
Vector projected(const Matrix& projection, const Vector& x);

// ---- the two sums of a metric

struct Sums {
  double numerator = 0;
  double denominator = 0;
};

/// sum_t ||o'_t - o_t||^2 and sum_t ||o_t||^2
Sums output_error(const Layer& layer, std::size_t q_head, std::size_t compression_point, const Positions& retained);
/// sum_t ||o'_t - o_t|| / ||o_t|| and the number of queries
Sums mean_output_error(const Layer& layer, std::size_t q_head, std::size_t compression_point,
                       const Positions& retained);
/// sum_t of 1 - cos(o'_t, o_t), and the number of queries
Sums cosine_distance(const Layer& layer, std::size_t q_head, std::size_t compression_point, const Positions& retained);
/// sum_t of the retained mass, and the number of queries
Sums attention_recall(const Layer& layer, std::size_t q_head, std::size_t compression_point, const Positions& retained);
/// The squared norms of output_error after W_O, for one head alone
Sums head_projected_error(const Layer& layer, std::size_t q_head, std::size_t compression_point,
                          const Positions& retained);
/// ... and for all heads together.
/// \param retained  [n_q_heads]
Sums projected_error(const Layer& layer, std::size_t compression_point, const std::vector<Positions>& retained);

}  // namespace reference
