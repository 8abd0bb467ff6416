#pragma once
// One table of policies against cases, layers or heads.

#include <cstddef>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "analysis/compare/pooling.h"

namespace kvreplay {

struct Comparison;

struct LevelCell {
  double value = std::numeric_limits<double>::quiet_NaN();  ///< of the metric, or the smallest kept share for a bound
  bool at_smallest = false;                                 ///< as in Crossing
  bool best = false;                                        ///< of the column's contestants
};

struct LevelRow {
  std::size_t policy = 0;
  std::size_t rank = 0;          ///< from 1; 0: it does not compete, or has no value
  std::vector<LevelCell> cells;  ///< [1 + n_groups] all together, then the groups
};

struct LevelTable {
  std::size_t metric = 0;         ///< index into Comparison::metrics
  Level level = Level::by_layer;  ///< what the metric can tell apart: layers where heads were asked for and it has none
  std::optional<double> bound;    ///< the smallest share that holds it; nothing: values at Comparison::level_budget
  std::string all;                ///< what the first column is of: "all", or the point where cases have several
  std::vector<std::string> groups;    ///< labels
  std::vector<std::size_t> by_worth;  ///< groups, those first in which the best policy does worst
  std::vector<LevelRow> rows;         ///< contestants, best first, then references
};

/// Of the metrics that were asked for; else of the one nearest to the live model's loss that can be told apart so. One
/// at the budget, and one for each bound that was given.
/// \param comparison  by a level
std::vector<LevelTable> level_tables(const Results& results, const Comparison& comparison,
                                     const std::vector<std::string>& metrics);

}  // namespace kvreplay
