#pragma once
// Cells of tokens cut into the runs that blocks add up.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/cuda/cell_sums.h"

namespace kvreplay::cuda {

/// For whose sums: some columns of the weights of one KV head.
struct Columns {
  std::uint32_t batch = 0, first = 0, n = 0;
};

struct CellRuns {
  std::vector<Run> runs;
  std::vector<Fold> folds;
  std::vector<std::uint64_t> offsets;  ///< of each cell, once its runs are folded
  std::size_t n_floats = 0;            ///< of all sums
  std::size_t most_columns = 0;

  /// \param begin      of the first cell in the positions
  /// \param cell_ends  ends of the cells, counted from `begin`
  void add(std::size_t value_dim, Columns columns, std::size_t begin, std::span<const std::size_t> cell_ends) {
    const std::size_t size = (value_dim + 1) * columns.n;
    most_columns = std::max<std::size_t>(most_columns, columns.n);
    std::size_t from = 0;
    for (const std::size_t end : cell_ends) {
      const std::size_t n_tokens = end - from,
                        n = std::max<std::size_t>(1, (n_tokens + kTokensOfRun - 1) / kTokensOfRun);
      offsets.push_back(n_floats);
      if (n > 1)
        folds.push_back(
            {.offset = n_floats, .n_runs = static_cast<std::uint32_t>(n), .size = static_cast<std::uint32_t>(size)});
      for (std::size_t r = 0; r < n; ++r, n_floats += size) {
        const std::size_t at = from + r * kTokensOfRun;
        runs.push_back({.offset = n_floats,
                        .begin = static_cast<std::uint32_t>(begin + at),
                        .count = static_cast<std::uint32_t>(std::min(kTokensOfRun, end - at)),
                        .batch = columns.batch,
                        .first_column = columns.first,
                        .n_columns = columns.n});
      }
      from = end;
    }
  }

  std::size_t largest_fold() const {
    std::size_t most = 0;
    for (const Fold& fold : folds) most = std::max<std::size_t>(most, fold.size);
    return most;
  }
};

}  // namespace kvreplay::cuda
