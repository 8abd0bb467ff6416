#pragma once
// Tables for a terminal: a column of names, right-aligned cells, broken into blocks where the lines get too long.

#include <cstddef>
#include <string>
#include <vector>

namespace kvreplay {

class TextTable {
 public:
  struct Cell {
    std::string text;
    bool marked = false;  ///< a `*` stands before it
  };

  /// \param corner   stands above the names
  /// \param headers  [n_columns]
  TextTable(std::string corner, std::vector<std::string> headers);

  /// \param cells   [n_columns]
  /// \param remark  stands behind the last of them
  void add_row(std::string name, std::vector<Cell> cells, std::string remark = "");
  /// A line across, above the next row.
  void add_rule();

  /// Lines of at most `width` characters, as far as the names and one column allow; further columns follow in blocks
  /// below, each with the names again.
  std::string render(std::size_t width) const;

 private:
  struct Row {
    std::string name;
    std::vector<Cell> cells;
    std::string remark;
    bool rule_above = false;
  };

  /// How wide everything is, in characters.
  struct Widths {
    std::size_t name = 0;
    std::size_t gap = 1;  ///< before each column
    std::vector<std::size_t> columns;
  };
  Widths measure(std::size_t width) const;
  std::string render_columns(const Widths& widths, std::size_t begin, std::size_t end) const;

  std::string corner_;
  std::vector<std::string> headers_;
  std::vector<Row> rows_;
  bool rule_pending_ = false;
};

/// Three significant digits in at most seven characters: "0.0123", "4.56e-5", "12.3", "1.23M"; "-" for NaN.
std::string compact(double value);

}  // namespace kvreplay
