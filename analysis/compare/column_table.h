#pragma once
// A table whose columns are chosen by who writes it: to the left or right, some under a caption that they share.

#include <cstddef>
#include <string>
#include <vector>

namespace kvreplay {

struct TableColumn {
  std::string caption;    ///< above this column and the next ones of `spans`
  std::size_t spans = 1;  ///< columns under the caption
  std::string header;
  bool left = false;
  std::size_t gap = 1;  ///< before the column
  std::vector<std::string> cells = {};
};

/// Characters of the longest line.
std::size_t table_width(const std::vector<TableColumn>& columns);

/// Captions (where there are any), headers and rows, without spaces at their ends.
/// \param columns  all with as many cells
std::vector<std::string> table_lines(const std::vector<TableColumn>& columns);

}  // namespace kvreplay
