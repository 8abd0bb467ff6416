#include "core/chunk_attention.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace kvreplay {
namespace {

// Rows [begin, begin + n_rows), with zeros beyond the end.
ConstMatrixView padded(ConstMatrixView rows, std::size_t begin, std::size_t n_rows, Tensor& copy) {
  if (begin + n_rows <= rows.rows) return rows.rows_between(begin, begin + n_rows);
  copy = Tensor(1, n_rows, rows.cols);
  std::ranges::fill(copy.values(), 0.0f);
  for (std::size_t r = begin; r < rows.rows; ++r) std::ranges::copy(rows.row(r), copy.matrix(0).row(r - begin).begin());
  return copy.matrix(0);
}

}  // namespace

const Tensor& chunk_attention(const PromptView& view, Range tokens, std::size_t chunk) {
  const std::string name = fmt::format("attention in chunks of {}, tokens {} to {}", chunk, tokens.begin, tokens.end);
  return view.remember<Tensor>(name, [&] {
    Tensor sums(1, view.model().n_q_heads, tokens.size());
    // Queries that all stand at the end of the chunk see all of it.
    const std::vector<std::size_t> positions(chunk, chunk - 1);
    std::vector<float> columns(chunk);
    Tensor queries, keys;
    for (std::size_t h = 0; h < sums.rows(); ++h) {
      const ConstMatrixView all_queries = view.queries(h, kAll).rows_between(tokens.begin, tokens.end);
      const ConstMatrixView all_keys = view.keys(h / view.model().group_size()).rows_between(tokens.begin, tokens.end);
      for (std::size_t begin = 0; begin < tokens.size(); begin += chunk) {
        view.backend().attention_sums({.scale = 1}, padded(all_queries, begin, chunk, queries), positions,
                                      padded(all_keys, begin, chunk, keys), columns);
        std::copy_n(columns.begin(), std::min(chunk, tokens.size() - begin), sums.matrix(0).row(h).begin() + begin);
      }
    }
    return sums;
  });
}

}  // namespace kvreplay
