#pragma once
// Linear algebra in float64 over the float32 rows of one head: n rows of a few dozen numbers against small square
// matrices. Rows are converted a block at a time, so that nothing of size n x n or a float64 copy of all rows is held.

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "core/base/matrix.h"

namespace kvreplay {

/// A square or rectangular matrix of float64, row-major.
struct Matrix64 {
  std::size_t rows = 0, cols = 0;
  std::vector<double> values;  ///< [rows, cols]

  Matrix64() = default;
  Matrix64(std::size_t n_rows, std::size_t n_cols) : rows(n_rows), cols(n_cols), values(n_rows * n_cols, 0.0) {}

  double& operator()(std::size_t r, std::size_t c) { return values[r * cols + c]; }
  double operator()(std::size_t r, std::size_t c) const { return values[r * cols + c]; }
  std::span<double> row(std::size_t r) { return std::span(values).subspan(r * cols, cols); }
  std::span<const double> row(std::size_t r) const { return std::span(values).subspan(r * cols, cols); }
};

/// Some rows, copied.
Matrix64 rows_between(const Matrix64& matrix, std::size_t begin, std::size_t end);

/// sum_i w_i x_i x_i^T, [cols, cols].
/// \param weights  [rows], not negative; empty: all 1
Matrix64 gram(ConstMatrixView rows, std::span<const double> weights = {});

/// gram += x x^T over float64 rows.
/// \param rows  [n, gram.cols]; only the upper triangle of `gram` is written
void add_to_upper_gram(std::span<const double> rows, Matrix64& gram);
/// Copies the upper triangle to the lower.
void mirror_upper(Matrix64& matrix);

/// out(v, i) = vectors_v . x_i.
/// \param vectors  [n, cols]
/// \return [n, rows]
Matrix64 inner_products(const Matrix64& vectors, ConstMatrixView rows);

/// out[i] = x_i . x_i
std::vector<double> squared_norms(ConstMatrixView rows);

/// out[i] = x_i^T M x_i.
/// \param matrix  [cols, cols], symmetric
std::vector<double> quadratic_forms(const Matrix64& matrix, ConstMatrixView rows);

/// The lower factor L of M = L L^T, in place; what lies above the diagonal has no meaning, before and after. False when
/// M is not positive definite.
bool factorise(Matrix64& matrix);

/// M^-1 in place, symmetric. False when M is not positive definite.
bool invert(Matrix64& matrix);

/// 1/2 log det M, in nats, through the Cholesky factor; nothing when M is not positive definite.
/// \param matrix  only its upper triangle is read
std::optional<double> half_log_det(Matrix64 matrix);

/// 1/2 log det(I + factor B B^T), in nats, without forming B B^T, whose small eigenvalues would drown in the rounding
/// errors of its large ones. Not finite where B is not.
/// \param factor  not negative
double half_log_det_of_root(const Matrix64& b, double factor);

/// a b
Matrix64 product(const Matrix64& a, const Matrix64& b);
Matrix64 transposed(const Matrix64& matrix);
/// sum += factor a a^T, the upper triangle alone
void add_to_upper_gram_of_columns(const Matrix64& a, double factor, Matrix64& sum);
/// Some C with C C^T = M.
/// \param matrix  symmetric and positive semidefinite but for rounding, of any rank
Matrix64 symmetric_root(const Matrix64& matrix);

/// out[i] = u_i^T (ridge I + G)^-1 u_i for a Gram matrix G and u_i = P x_i; empty when ridge I + G is not positive
/// definite.
/// \param projection  P; empty: u_i = x_i
std::vector<double> leverage(Matrix64 gram, double ridge, ConstMatrixView rows, const Matrix64& projection = {});

/// The triangular R of the thin QR factorisation of W^T, so that ||W^T v|| = ||R v|| for every v and W need not have
/// full rank.
/// \param w  [n, m]
/// \return [min(n, m), n]
Matrix64 triangular_factor(ConstMatrixView w);
/// The same in float32, in half the time and memory: for the whole output projection of a large model, before products
/// in float32.
/// \return one matrix [min(n, m), n], zeros below the diagonal
Tensor triangular_factor32(ConstMatrixView w);

}  // namespace kvreplay
