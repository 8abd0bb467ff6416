#include "analysis/compare/column_table.h"

#include <algorithm>
#include <numeric>

#include "core/base/text_wrap.h"

namespace kvreplay {
namespace {

/// [n_columns] without the gaps; a caption that is too long widens its first column.
std::vector<std::size_t> column_widths(const std::vector<TableColumn>& columns) {
  std::vector<std::size_t> widths;
  for (const TableColumn& column : columns) {
    std::size_t width = display_width(column.header);
    for (const std::string& cell : column.cells) width = std::max(width, display_width(cell));
    widths.push_back(width);
  }
  for (std::size_t c = 0; c < columns.size(); ++c) {
    std::size_t under = widths[c];
    for (std::size_t next = c + 1; next < c + columns[c].spans; ++next) under += columns[next].gap + widths[next];
    const std::size_t caption = display_width(columns[c].caption);
    if (caption > under) widths[c] += caption - under;
  }
  return widths;
}

void append(std::string& line, const std::string& text, std::size_t gap, std::size_t width, bool left) {
  const std::string room(width - display_width(text), ' ');
  line += std::string(gap, ' ') + (left ? text + room : room + text);
}

std::string trimmed_right(std::string line) {
  line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

}  // namespace

std::size_t table_width(const std::vector<TableColumn>& columns) {
  const std::vector<std::size_t> widths = column_widths(columns);
  std::size_t total = std::accumulate(widths.begin(), widths.end(), std::size_t{0});
  for (std::size_t c = 1; c < columns.size(); ++c) total += columns[c].gap;
  return total;
}

std::vector<std::string> table_lines(const std::vector<TableColumn>& columns) {
  const std::vector<std::size_t> widths = column_widths(columns);
  const auto gap = [&](std::size_t c) { return c == 0 ? 0 : columns[c].gap; };
  std::string captions, headers;
  for (std::size_t c = 0; c < columns.size(); ++c) {
    append(headers, columns[c].header, gap(c), widths[c], columns[c].left);
    std::size_t under = widths[c];
    const std::size_t first = c;
    while (c + 1 < first + columns[first].spans) {
      ++c;
      append(headers, columns[c].header, gap(c), widths[c], columns[c].left);
      under += gap(c) + widths[c];
    }
    append(captions, columns[first].caption, gap(first), under, columns[first].left);
  }
  std::vector<std::string> lines;
  if (captions.find_first_not_of(' ') != std::string::npos) lines.push_back(trimmed_right(captions));
  lines.push_back(trimmed_right(headers));
  for (std::size_t row = 0; row < columns.front().cells.size(); ++row) {
    std::string line;
    for (std::size_t c = 0; c < columns.size(); ++c)
      append(line, columns[c].cells[row], gap(c), widths[c], columns[c].left);
    lines.push_back(trimmed_right(line));
  }
  return lines;
}

}  // namespace kvreplay
