#include "analysis/compare/text_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/base/text_wrap.h"

namespace kvreplay {
namespace {

std::string spaces(std::size_t n) { return std::string(n, ' '); }

}  // namespace

TextTable::TextTable(std::string corner, std::vector<std::string> headers)
    : corner_(std::move(corner)), headers_(std::move(headers)) {}

void TextTable::add_row(std::string name, std::vector<Cell> cells, std::string remark) {
  rows_.push_back(
      {.name = std::move(name), .cells = std::move(cells), .remark = std::move(remark), .rule_above = rule_pending_});
  rule_pending_ = false;
}

void TextTable::add_rule() { rule_pending_ = !rows_.empty(); }

std::string TextTable::render_columns(const Widths& widths, std::size_t begin, std::size_t end) const {
  std::string text = corner_ + spaces(widths.name - display_width(corner_));
  std::size_t total = widths.name;
  for (std::size_t c = begin; c < end; ++c) {
    text += spaces(widths.gap + widths.columns[c] - display_width(headers_[c])) + headers_[c];
    total += widths.gap + widths.columns[c];
  }
  text += "\n";
  for (const Row& row : rows_) {
    if (row.rule_above) text += std::string(total, '-') + "\n";
    text += row.name + spaces(widths.name - display_width(row.name));
    for (std::size_t c = begin; c < end; ++c) {
      const Cell& cell = row.cells[c];
      text += spaces(widths.gap + widths.columns[c] - display_width(cell.text) - (cell.marked ? 1 : 0));
      text += (cell.marked ? "*" : "") + cell.text;
    }
    if (end == headers_.size() && !row.remark.empty()) text += "  " + row.remark;
    text += "\n";
  }
  return text;
}

TextTable::Widths TextTable::measure(std::size_t width) const {
  Widths widths{.name = display_width(corner_), .gap = 2, .columns = std::vector<std::size_t>(headers_.size())};
  for (const Row& row : rows_) widths.name = std::max(widths.name, display_width(row.name));
  const auto measure_columns = [&](bool marks_take_room) {
    for (std::size_t c = 0; c < headers_.size(); ++c) {
      widths.columns[c] = display_width(headers_[c]);
      for (const Row& row : rows_) {
        const std::size_t mark = marks_take_room && row.cells[c].marked ? 1 : 0;
        widths.columns[c] = std::max(widths.columns[c], display_width(row.cells[c].text) + mark);
      }
    }
  };
  // A mark stands in a gap of two, so that marked tables are no wider.
  measure_columns(false);
  const std::size_t total = std::accumulate(widths.columns.begin(), widths.columns.end(), widths.name);
  if (total + widths.gap * headers_.size() <= width) return widths;
  // Closer together before breaking into blocks. A gap of one stays free, or cells would run together.
  widths.gap = 1;
  measure_columns(true);
  return widths;
}

std::string TextTable::render(std::size_t width) const {
  const Widths widths = measure(width);
  std::string text;
  std::size_t begin = 0;
  do {
    std::size_t end = begin;
    std::size_t used = widths.name;
    while (end < headers_.size() && (end == begin || used + widths.gap + widths.columns[end] <= width)) {
      used += widths.gap + widths.columns[end++];
    }
    if (begin > 0) text += '\n';
    text += render_columns(widths, begin, end);
    begin = end;
  } while (begin < headers_.size());
  return text;
}

std::string compact(double value) {
  if (std::isnan(value)) return "-";
  if (std::isinf(value) || value == 0) return fmt::format("{}", value);
  const double size = std::abs(value);
  if (size < 9.995e-4) {
    const std::string text = fmt::format("{:.2e}", value);  // "1.23e-05"
    const std::size_t e = text.find('e');
    return text.substr(0, e) + "e-" + std::to_string(std::stoi(text.substr(e + 2)));
  }
  double scaled = value;
  const char* suffix = "";
  for (const char* next : {"k", "M", "G", "T", "P"}) {
    if (std::abs(scaled) < 999.5) break;
    scaled /= 1000;
    suffix = next;
  }
  const int digits = std::max(0, 2 - static_cast<int>(std::floor(std::log10(std::abs(scaled) * 1.0005))));
  std::string text = fmt::format("{:.{}f}", scaled, std::min(digits, 5));
  // Whole numbers stay whole, and 0.2 is not 0.200; "1.00" from 1.0004 keeps its zeros: it is not exactly one.
  const std::string shortest = fmt::format("{}", scaled);
  return (shortest.size() < text.size() ? shortest : text) + suffix;
}

}  // namespace kvreplay
