#pragma once
// Tables with a row for each policy, and how figures read in them.

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "analysis/compare/bootstrap.h"
#include "analysis/compare/compared_policy.h"
#include "analysis/compare/curve.h"
#include "analysis/compare/text_table.h"

namespace kvreplay {

inline constexpr std::size_t kTextWidth = 150;

using Cells = std::vector<TextTable::Cell>;

/// Marks the best cell of each column among the contestants; nothing where all are equal.
/// \param value  (policy, column)
void mark_best(std::span<const ComparedPolicy> policies, Better better, std::size_t n_columns,
               const std::function<double(std::size_t, std::size_t)>& value, std::vector<Cells>& rows);

/// Contestants first, then the references; by the key among themselves, NaN last.
/// \param keys  [n_policies]
std::vector<std::size_t> row_order(std::span<const ComparedPolicy> policies, Better better,
                                   std::span<const double> keys);

/// With a rule between contestants and references.
/// \param order  indices of the policies to show;
/// \param rows  [n_policies]
/// \param remarks  [n_policies] what stands behind the rows; empty for nothing
std::string render_policies(std::span<const ComparedPolicy> policies, std::span<const std::size_t> order,
                            const std::string& corner, std::vector<std::string> headers, std::vector<Cells> rows,
                            std::vector<std::string> remarks = {});

/// "lower is better"
std::string direction(Better better);
/// "<=" or ">="
std::string bound_sign(Better better);
/// "0.14", "<=0.05", or "-" for never.
std::string crossing_text(const Crossing& crossing);
/// "0.1 to 0.3", or "" without an interval.
std::string interval_text(const Estimate& estimate);

}  // namespace kvreplay
