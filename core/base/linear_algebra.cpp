#include "core/base/linear_algebra.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <type_traits>

#include "core/base/blas.h"

namespace kvreplay {
namespace {

constexpr std::size_t kBlockRows = 256;

blasint blas(std::size_t n) { return static_cast<blasint>(n); }

// Calls use(first, n, block) for blocks [n, cols] of the rows in float64.
template <typename Use>
void for_blocks(ConstMatrixView rows, const Use& use) {
  std::vector<double> block(std::min(kBlockRows, rows.rows) * rows.cols);
  for (std::size_t first = 0; first < rows.rows; first += kBlockRows) {
    const std::size_t n = std::min(kBlockRows, rows.rows - first);
    for (std::size_t r = 0; r < n; ++r) std::ranges::copy(rows.row(first + r), block.begin() + blas(r * rows.cols));
    use(first, n, block);
  }
}

// The QR factorisation of A [m, n] in columns: R above and on the diagonal, and of no use below it.
template <typename Real>
void factorise_qr(std::size_t m, std::size_t n, std::vector<Real>& a) {
  const blasint rows = blas(m), cols = blas(n), n_work = 32 * cols;  // room for blocks of 32 columns
  std::vector<Real> tau(std::min(m, n)), work(32 * n);
  blasint info = 0;
  if constexpr (std::is_same_v<Real, double>)
    dgeqrf_(&rows, &cols, a.data(), &rows, tau.data(), work.data(), &n_work, &info);
  else
    sgeqrf_(&rows, &cols, a.data(), &rows, tau.data(), work.data(), &n_work, &info);
  if (info != 0) throw std::logic_error("geqrf: an argument is wrong");
}

// Calls set(r, c, R(r, c)) for the R of the thin QR factorisation of W^T.
template <typename Real, typename Set>
void for_triangular_factor(ConstMatrixView w, const Set& set) {
  // Row-major W [n, m] is W^T [m, n] to LAPACK, which counts by columns.
  std::vector<Real> a;
  a.reserve(w.rows * w.cols);
  for (std::size_t r = 0; r < w.rows; ++r) a.insert(a.end(), w.row(r).begin(), w.row(r).end());
  factorise_qr(w.cols, w.rows, a);
  for (std::size_t r = 0; r < std::min(w.rows, w.cols); ++r)
    for (std::size_t c = 0; c < w.rows; ++c) set(r, c, r <= c ? a[c * w.cols + r] : Real{0});
}

double squared_norm(const double* x, std::size_t n) { return cblas_ddot(blas(n), x, 1, x, 1); }

}  // namespace

Matrix64 rows_between(const Matrix64& matrix, std::size_t begin, std::size_t end) {
  Matrix64 rows(end - begin, matrix.cols);
  std::copy_n(matrix.values.data() + begin * matrix.cols, rows.values.size(), rows.values.data());
  return rows;
}

Matrix64 gram(ConstMatrixView rows, std::span<const double> weights) {
  Matrix64 sum(rows.cols, rows.cols);
  for_blocks(rows, [&](std::size_t first, std::size_t n, std::vector<double>& block) {
    if (!weights.empty())
      for (std::size_t r = 0; r < n; ++r) {
        const double root = std::sqrt(weights[first + r]);
        for (std::size_t d = 0; d < rows.cols; ++d) block[r * rows.cols + d] *= root;
      }
    add_to_upper_gram(std::span(block).first(n * rows.cols), sum);
  });
  mirror_upper(sum);
  return sum;
}

void add_to_upper_gram(std::span<const double> rows, Matrix64& gram) {
  const blasint dim = blas(gram.cols);
  cblas_dsyrk(CblasRowMajor, CblasUpper, CblasTrans, dim, blas(rows.size() / gram.cols), 1.0, rows.data(), dim, 1.0,
              gram.values.data(), dim);
}

void mirror_upper(Matrix64& matrix) {
  for (std::size_t r = 1; r < matrix.rows; ++r)
    for (std::size_t c = 0; c < r; ++c) matrix(r, c) = matrix(c, r);
}

Matrix64 inner_products(const Matrix64& vectors, ConstMatrixView rows) {
  Matrix64 products(vectors.rows, rows.rows);
  for_blocks(rows, [&](std::size_t first, std::size_t n, const std::vector<double>& block) {
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, blas(vectors.rows), blas(n), blas(rows.cols), 1.0,
                vectors.values.data(), blas(rows.cols), block.data(), blas(rows.cols), 0.0,
                products.values.data() + first, blas(rows.rows));
  });
  return products;
}

std::vector<double> squared_norms(ConstMatrixView rows) {
  std::vector<double> norms(rows.rows);
  for_blocks(rows, [&](std::size_t first, std::size_t n, const std::vector<double>& block) {
    for (std::size_t r = 0; r < n; ++r) norms[first + r] = squared_norm(block.data() + r * rows.cols, rows.cols);
  });
  return norms;
}

std::vector<double> quadratic_forms(const Matrix64& matrix, ConstMatrixView rows) {
  const std::size_t dim = rows.cols;
  std::vector<double> forms(rows.rows), turned(kBlockRows * dim);
  for_blocks(rows, [&](std::size_t first, std::size_t n, const std::vector<double>& block) {
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, blas(n), blas(dim), blas(dim), 1.0, block.data(), blas(dim),
                matrix.values.data(), blas(dim), 0.0, turned.data(), blas(dim));
    for (std::size_t r = 0; r < n; ++r)
      forms[first + r] = cblas_ddot(blas(dim), block.data() + r * dim, 1, turned.data() + r * dim, 1);
  });
  return forms;
}

namespace {

// LAPACK counts by columns: its upper triangle ("U") is our lower one.
bool factorise(const char* triangle, Matrix64& matrix) {
  const blasint n = blas(matrix.rows);
  blasint info = 0;
  dpotrf_(triangle, &n, matrix.values.data(), &n, &info);
  return info == 0;
}

}  // namespace

bool factorise(Matrix64& matrix) { return factorise("U", matrix); }

bool invert(Matrix64& matrix) {
  if (!factorise(matrix)) return false;
  const blasint n = blas(matrix.rows);
  blasint info = 0;
  dpotri_("U", &n, matrix.values.data(), &n, &info);
  double trace = 0;
  for (std::size_t r = 0; r < matrix.rows; ++r) {
    trace += matrix(r, r);
    for (std::size_t c = r + 1; c < matrix.cols; ++c) matrix(r, c) = matrix(c, r);
  }
  return info == 0 && std::isfinite(trace);  // OpenBLAS lets NaN pass
}

std::optional<double> half_log_det(Matrix64 matrix) {
  if (matrix.rows == 0) return 0.0;  // the determinant of nothing is 1; LAPACK refuses it
  if (!factorise("L", matrix)) return std::nullopt;
  double sum = 0;
  for (std::size_t d = 0; d < matrix.rows; ++d) sum += std::log(matrix(d, d));
  return sum;
}

double half_log_det_of_root(const Matrix64& b, double factor) {
  // I + factor B B^T = A^T A with A = sqrt(factor) B^T above I, one column of A for each row of B.
  const std::size_t m = b.cols + b.rows;
  const double scale = std::sqrt(factor);
  std::vector<double> a(m * b.rows, 0.0);
  for (std::size_t r = 0; r < b.rows; ++r) {
    for (std::size_t c = 0; c < b.cols; ++c) a[r * m + c] = scale * b(r, c);
    a[r * m + b.cols + r] = 1;
  }
  factorise_qr(m, b.rows, a);
  double sum = 0;
  for (std::size_t r = 0; r < b.rows; ++r) sum += std::log(std::abs(a[r * m + r]));
  return sum;
}

Matrix64 product(const Matrix64& a, const Matrix64& b) {
  Matrix64 c(a.rows, b.cols);
  cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, blas(a.rows), blas(b.cols), blas(a.cols), 1.0, a.values.data(),
              blas(a.cols), b.values.data(), blas(b.cols), 0.0, c.values.data(), blas(c.cols));
  return c;
}

Matrix64 transposed(const Matrix64& matrix) {
  Matrix64 result(matrix.cols, matrix.rows);
  for (std::size_t r = 0; r < matrix.rows; ++r)
    for (std::size_t c = 0; c < matrix.cols; ++c) result(c, r) = matrix(r, c);
  return result;
}

void add_to_upper_gram_of_columns(const Matrix64& a, double factor, Matrix64& sum) {
  cblas_dsyrk(CblasRowMajor, CblasUpper, CblasNoTrans, blas(a.rows), blas(a.cols), factor, a.values.data(),
              blas(a.cols), 1.0, sum.values.data(), blas(sum.cols));
}

Matrix64 symmetric_root(const Matrix64& matrix) {
  Matrix64 vectors = matrix;  // LAPACK counts by columns: eigenvectors come as rows
  std::vector<double> values(matrix.rows), work(64 * matrix.rows);
  const blasint n = blas(matrix.rows), n_work = blas(work.size());
  blasint info = 0;
  dsyev_("V", "L", &n, vectors.values.data(), &n, values.data(), work.data(), &n_work, &info);
  if (info != 0) throw std::runtime_error("dsyev: no convergence");
  Matrix64 root(matrix.rows, matrix.rows);
  for (std::size_t r = 0; r < matrix.rows; ++r)
    for (std::size_t c = 0; c < matrix.rows; ++c) root(r, c) = vectors(c, r) * std::sqrt(std::max(values[c], 0.0));
  return root;
}

std::vector<double> leverage(Matrix64 gram, double ridge, ConstMatrixView rows, const Matrix64& projection) {
  for (std::size_t d = 0; d < gram.rows; ++d) gram(d, d) += ridge;
  if (!factorise(gram)) return {};
  // L^-1 P once, so that the rows take products instead of a substitution each, which runs at a third of their speed.
  const bool projects = !projection.values.empty();
  Matrix64 turn = projects ? projection : Matrix64(gram.rows, gram.rows);
  if (!projects)
    for (std::size_t d = 0; d < gram.rows; ++d) turn(d, d) = 1;
  cblas_dtrsm(CblasRowMajor, CblasLeft, CblasLower, CblasNoTrans, CblasNonUnit, blas(turn.rows), blas(turn.cols), 1.0,
              gram.values.data(), blas(gram.cols), turn.values.data(), blas(turn.cols));
  std::vector<double> result(rows.rows), turned(projects ? kBlockRows * turn.rows : 0);
  for_blocks(rows, [&](std::size_t first, std::size_t n, std::vector<double>& block) {
    // Rows x^T to (L^-1 P x)^T, whose squared norm is u^T (L L^T)^-1 u: never negative.
    if (projects)
      cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, blas(n), blas(turn.rows), blas(turn.cols), 1.0, block.data(),
                  blas(turn.cols), turn.values.data(), blas(turn.cols), 0.0, turned.data(), blas(turn.rows));
    else
      cblas_dtrmm(CblasRowMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit, blas(n), blas(turn.cols), 1.0,
                  turn.values.data(), blas(turn.cols), block.data(), blas(turn.cols));
    const double* out = projects ? turned.data() : block.data();
    for (std::size_t r = 0; r < n; ++r) result[first + r] = squared_norm(out + r * turn.rows, turn.rows);
  });
  return result;
}

Matrix64 triangular_factor(ConstMatrixView w) {
  Matrix64 factor(std::min(w.rows, w.cols), w.rows);
  for_triangular_factor<double>(w, [&](std::size_t r, std::size_t c, double x) { factor(r, c) = x; });
  return factor;
}

Tensor triangular_factor32(ConstMatrixView w) {
  Tensor factor(1, std::min(w.rows, w.cols), w.rows);
  MatrixView rows = factor.matrix(0);
  for_triangular_factor<float>(w, [&](std::size_t r, std::size_t c, float x) { rows(r, c) = x; });
  return factor;
}

}  // namespace kvreplay
