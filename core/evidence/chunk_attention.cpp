#include "core/evidence/chunk_attention.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <vector>

#include "core/base/count.h"

namespace kvreplay {
namespace {

// Rows [begin, begin + n_rows), with zeros beyond the end.
ConstMatrixView padded(ConstMatrixView rows, std::size_t begin, std::size_t n_rows, std::deque<Tensor>& copies) {
  if (begin + n_rows <= rows.rows) return rows.rows_between(begin, begin + n_rows);
  Tensor& copy = copies.emplace_back(1, n_rows, rows.cols);
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
    const std::size_t n_chunks = (tokens.size() + chunk - 1) / chunk;
    Tensor columns(1, sums.rows(), n_chunks * chunk);
    std::deque<Tensor> copies;
    std::vector<ColumnTask> tasks;
    for (std::size_t h = 0; h < sums.rows(); ++h) {
      const ConstMatrixView queries = view.queries(h, kAll).rows_between(tokens.begin, tokens.end);
      const ConstMatrixView keys = view.keys(h / view.model().group_size()).rows_between(tokens.begin, tokens.end);
      for (std::size_t begin = 0; begin < tokens.size(); begin += chunk)
        tasks.push_back({padded(queries, begin, chunk, copies), padded(keys, begin, chunk, copies),
                         columns.matrix(0).row(h).subspan(begin, chunk)});
    }
    view.backend().attention_sums({.scale = 1}, positions, tasks);
    for (std::size_t h = 0; h < sums.rows(); ++h)
      std::ranges::copy(columns.matrix(0).row(h).first(tokens.size()), sums.matrix(0).row(h).begin());
    return sums;
  });
}

}  // namespace kvreplay
