#include "core/contracts/number_table.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <string_view>

#include "core/base/error.h"

namespace kvreplay {
namespace {

std::vector<double> read_row(std::string_view line, const std::string& place) {
  std::vector<double> row;
  constexpr std::string_view kBlank = " \t\r,;";
  for (std::size_t begin = line.find_first_not_of(kBlank); begin != std::string_view::npos;) {
    const std::size_t end = std::min(line.find_first_of(kBlank, begin), line.size());
    const std::string_view word = line.substr(begin, end - begin);
    double value = 0;
    const auto [stop, error] = std::from_chars(word.data(), word.data() + word.size(), value);
    if (error != std::errc{} || stop != word.data() + word.size() || !std::isfinite(value))
      throw InputError(fmt::format("{}: '{}' is not a number", place, word));
    row.push_back(value);
    begin = line.find_first_not_of(kBlank, end);
  }
  return row;
}

}  // namespace

NumberTable read_number_table(const std::filesystem::path& path) {
  std::error_code ignored;
  const std::filesystem::file_status status = std::filesystem::status(path, ignored);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status))
    throw InputError(fmt::format("{}: the table is not a regular file", path.string()));  // a pipe might wait for ever
  std::ifstream file(path);
  if (!file) throw InputError(fmt::format("{}: the table cannot be read", path.string()));
  NumberTable table;
  std::string line;
  for (std::size_t number = 1; std::getline(file, line); ++number) {
    const std::string place = fmt::format("{}, line {}", path.string(), number);
    std::vector<double> row = read_row(std::string_view(line).substr(0, line.find('#')), place);
    if (row.empty()) continue;
    if (!table.rows.empty() && row.size() != table.n_columns())
      throw InputError(
          fmt::format("{}: {} numbers where the rows before have {}", place, row.size(), table.n_columns()));
    table.rows.push_back(std::move(row));
  }
  if (file.bad()) throw InputError(fmt::format("{}: reading stopped halfway", path.string()));
  if (table.rows.empty()) throw InputError(fmt::format("{}: the table is empty", path.string()));
  std::vector<double> all;
  for (const std::vector<double>& row : table.rows) all.insert(all.end(), row.begin(), row.end());
  table.digest = fmt::format("{}x{}:{:016x}", table.n_rows(), table.n_columns(),
                             XXH3_64bits(all.data(), all.size() * sizeof(double)));
  return table;
}

void check_head_table(const NumberTable& table, std::size_t n_layers, std::size_t n_kv_heads) {
  if (table.n_rows() != n_layers || table.n_columns() != n_kv_heads)
    throw InputError(fmt::format("its table has {} rows of {} numbers; the model has {} layers of {} KV heads",
                                 table.n_rows(), table.n_columns(), n_layers, n_kv_heads));
}

}  // namespace kvreplay
