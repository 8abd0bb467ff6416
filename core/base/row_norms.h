#pragma once
// Norms of the rows and columns of a matrix, vectorised.

#include <span>

#include "core/base/matrix.h"

namespace kvreplay {

enum class Norm { l1, l2 };

/// out[r] = norm of row r.
/// \param out  [rows]
void row_norms(ConstMatrixView rows, Norm norm, std::span<float> out);

/// out[r] = ||row r - point||_2, formed from the differences: nothing cancels.
/// \param point  [cols]
/// \param out  [rows]
void row_distances(ConstMatrixView rows, std::span<const float> point, std::span<float> out);

/// out[r] = ||P^T row r||_1. The coordinates are summed in one order whatever the row's place: equal rows have equal
/// norms, to the bit, which a matrix product of a BLAS does not grant.
/// \param projection  P, [rows.cols, any]
/// \param out  [rows.rows]
void projected_l1_norms(ConstMatrixView rows, ConstMatrixView projection, std::span<float> out);

/// out[c] = squared norm of column c: squares of 16 rows summed in float32, these in float64.
/// \param out  [cols]
void squared_column_norms(ConstMatrixView rows, std::span<double> out);

}  // namespace kvreplay
