#pragma once
// Tables of numbers that a policy reads from a file: one value per layer and head.

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

namespace kvreplay {

struct NumberTable {
  std::vector<std::vector<double>> rows;  ///< all of the same length
  std::string digest;                     ///< of the numbers: the same table, the same digest

  std::size_t n_rows() const { return rows.size(); }
  std::size_t n_columns() const { return rows.empty() ? 0 : rows.front().size(); }
};

/// Reads a text file: a row per line, numbers separated by blanks, tabs, commas or semicolons; empty lines and what
/// follows a # are passed over. Throws InputError naming file and line.
NumberTable read_number_table(const std::filesystem::path& path);

/// Throws InputError unless the table has a row for each layer of the model and a column for each KV head.
void check_head_table(const NumberTable& table, std::size_t n_layers, std::size_t n_kv_heads);

}  // namespace kvreplay
