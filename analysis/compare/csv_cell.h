#pragma once
// Cells of CSV.

#include <string>

namespace kvreplay {

/// In quotes where it needs them.
std::string csv_text(const std::string& text);
/// Shortest form that reads back as the same float64; "" for NaN.
std::string csv_number(double value);

}  // namespace kvreplay
