// Dense products, most of them in float64.

#include <algorithm>
#include <numeric>

#include "core/cuda/gpu_backend.h"
#include "core/cuda/norms.h"
#include "core/cuda/pack.h"

namespace kvreplay::cuda {

namespace {

constexpr std::size_t kGatheredRows = 16384;  // at a time

// Blocks of gathered rows in float64, and their products.
struct OuterProducts {
  StreamSlot& slot;
  bool symmetric;
  std::size_t p, q;            // columns left and right
  const std::uint32_t* index;  // of the rows
  const double* factors;       // of the rows, by their index; nullptr: 1
  const float* one;            // 1
  const float *left, *right;   // [padded(p)] and [padded(q)] columns
  DevicePointer<double> a, b;  // [kGatheredRows, p + 1], [kGatheredRows, q + 1]

  void gather(const float* from, std::size_t stride, std::size_t cols, const double* by, std::size_t at, std::size_t n,
              DevicePointer<double> to) const {
    KVREPLAY_CUDA(gather_rows({.rows = from,
                               .stride = stride,
                               .cols = cols,
                               .factors = by,
                               .roots = symmetric,
                               .index = index + at,
                               .n = n,
                               .out = to.get()},
                              slot.stream()));
  }

  // product += sum of the outer products of `n` rows from `at` on.
  // sides: [p + q], the sums of either side; nullptr: not wanted
  void add(std::size_t at, std::size_t n, double* product, double* sides) const {
    const auto np = static_cast<int>(p), nq = static_cast<int>(q), n_rows = static_cast<int>(n);
    const double alpha = 1, beta = 1;
    gather(left, padded(p), p, factors, at, n, a);
    // Rows here are columns to cuBLAS: the product [p, q] in rows is [q, p] in columns.
    if (symmetric) {
      KVREPLAY_CUDA(cublasDsyrk(slot.blas(), CUBLAS_FILL_MODE_LOWER, CUBLAS_OP_N, np, n_rows, &alpha, a.get(), np,
                                &beta, product, np));
      return;
    }
    gather(right, padded(q), q, nullptr, at, n, b);
    KVREPLAY_CUDA(cublasDgemm(slot.blas(), CUBLAS_OP_N, CUBLAS_OP_T, nq, np, n_rows, &alpha, b.get(), nq, a.get(), np,
                              &beta, product, nq));
    if (sides == nullptr) return;
    const DevicePointer<double> ones = a + kGatheredRows * p, by = b + kGatheredRows * q;
    gather(one, 0, 1, nullptr, at, n, ones);
    gather(one, 0, 1, factors, at, n, by);
    KVREPLAY_CUDA(
        cublasDgemv(slot.blas(), CUBLAS_OP_N, np, n_rows, &alpha, a.get(), np, ones.get(), 1, &beta, sides, 1));
    KVREPLAY_CUDA(
        cublasDgemv(slot.blas(), CUBLAS_OP_N, nq, n_rows, &alpha, b.get(), nq, by.get(), 1, &beta, sides + p, 1));
  }
};

// out[c] = sum of the weights of cell c
void sum_weights(std::span<const double> weights, std::span<const std::uint32_t> rows,
                 std::span<const std::size_t> cell_ends, double* out) {
  for (std::size_t c = 0, begin = 0; c < cell_ends.size(); begin = cell_ends[c++]) {
    double sum = 0;
    for (const std::uint32_t row : rows.subspan(begin, cell_ends[c] - begin)) sum += weights.empty() ? 1 : weights[row];
    out[c] = sum;
  }
}

}  // namespace

void GpuBackend::sum_outer_products(ConstMatrixView left, ConstMatrixView right, std::span<const double> weights,
                                    std::span<const std::uint32_t> rows, std::span<const std::size_t> cell_ends,
                                    bool with_sides, OuterSums& out) {
  const std::size_t p = left.cols, q = right.cols, n_cells = cell_ends.size();
  const bool symmetric = left.data == right.data && p == q && !with_sides;
  out.products.reserve_discard(n_cells * p * q);
  out.weights.reserve_discard(n_cells);
  if (with_sides) {
    out.left.reserve_discard(n_cells * p);
    out.right.reserve_discard(n_cells * q);
  }
  sum_weights(weights, rows, cell_ends, out.weights.data());
  if (n_cells == 0) return;

  Gpu& gpu = gpu_of(left);
  const StreamSlots::Lease slot(gpu.slots());
  const auto in_float32 = [&](ConstMatrixView view, Room room, DevicePointer<float> wide) {
    const DeviceStack stack = stack_of(gpu, *slot, {&view, 1}, room, DType::float32);
    return reinterpret_cast<const float*>(
        (stack.dtype == DType::float32 ? stack : widened(*slot, stack, wide)).data.get());
  };
  const std::size_t n_left = left.rows * padded(p), n_right = symmetric ? 0 : right.rows * padded(q);
  const DevicePointer<float> wide = slot->room<float>(Room::wide, n_left + n_right);
  const float* left_rows = in_float32(left, Room::keys, wide);
  const float* right_rows = symmetric ? left_rows : in_float32(right, Room::values, wide + n_left);

  const float one = 1;
  Tables& tables = slot->new_tables();
  const std::size_t at_rows = tables.add(rows), at_weights = tables.add(weights),
                    at_one = tables.add(std::span(&one, 1));
  tables.send(*slot);
  const DevicePointer<double> products = slot->room<double>(Room::products, n_cells * p * q);
  const DevicePointer<double> sides = slot->room<double>(Room::sides, n_cells * (p + q));
  slot->clear(products, n_cells * p * q);
  slot->clear(sides, n_cells * (p + q));
  const OuterProducts outer{.slot = *slot,
                            .symmetric = symmetric,
                            .p = p,
                            .q = q,
                            .index = tables.at<std::uint32_t>(at_rows),
                            .factors = weights.empty() ? nullptr : tables.at<double>(at_weights),
                            .one = tables.at<float>(at_one),
                            .left = left_rows,
                            .right = right_rows,
                            .a = slot->room<double>(Room::left, kGatheredRows * (p + 1)),
                            .b = slot->room<double>(Room::right, kGatheredRows * (q + 1))};
  for (std::size_t c = 0, begin = 0; c < n_cells; begin = cell_ends[c++])
    for (std::size_t at = begin; at < cell_ends[c]; at += kGatheredRows)
      outer.add(at, std::min(kGatheredRows, cell_ends[c] - at), (products + c * p * q).get(),
                with_sides ? (sides + c * (p + q)).get() : nullptr);
  slot->download(std::span(out.products.data(), n_cells * p * q), products);
  if (with_sides)
    for (std::size_t c = 0; c < n_cells; ++c) {
      slot->download(std::span(out.left.data() + c * p, p), sides + c * (p + q));
      slot->download(std::span(out.right.data() + c * q, q), sides + c * (p + q) + p);
    }
  slot->wait();
  if (symmetric)
    for (std::size_t c = 0; c < n_cells; ++c)
      for (std::size_t i = 1; i < p; ++i)
        for (std::size_t j = 0; j < i; ++j) out.products[(c * p + i) * p + j] = out.products[(c * p + j) * p + i];
}

void GpuBackend::projected_norms(ConstMatrixView factor, FactorForm form, MatrixView x, std::span<double> norms) {
  const bool transposed = form == FactorForm::transposed;
  const std::size_t n_out = transposed ? factor.cols : factor.rows, n_in = transposed ? factor.rows : factor.cols;
  if (n_out * n_in * x.cols == 0) {
    std::ranges::fill(norms, 0.0);
    return;
  }
  Gpu& gpu = gpu_of(factor);
  const StreamSlots::Lease slot(gpu.slots());
  const DeviceStack stack = stack_of(gpu, *slot, {&factor, 1}, Room::keys, DType::float32);
  const float* const on_device = reinterpret_cast<const float*>(stack.data.get());
  const DevicePointer<float> columns = slot->room<float>(Room::errors, n_in * x.cols);
  if (x.stride == x.cols)
    slot->upload(columns, std::span<const float>(x.data, n_in * x.cols));
  else
    for (std::size_t r = 0; r < n_in; ++r) slot->upload(columns + r * x.cols, std::span<const float>(x.row(r)));
  const DevicePointer<float> product = slot->room<float>(Room::weights, n_out * x.cols);
  // What lies left of a block of rows' first diagonal element is 0: blocks do a little more than half of the work.
  constexpr std::size_t kRows = 512;
  const std::size_t step = form == FactorForm::trapezoidal ? kRows : n_out;
  const float one = 1, zero = 0;
  const auto k = static_cast<int>(x.cols), ld = static_cast<int>(stack.stride());
  for (std::size_t row = 0; row < n_out; row += step) {
    const std::size_t skipped = form == FactorForm::trapezoidal ? row : 0;
    // Rows here are columns to cuBLAS: x^T F^T.
    KVREPLAY_CUDA(cublasSgemm(slot->blas(), CUBLAS_OP_N, transposed ? CUBLAS_OP_T : CUBLAS_OP_N, k,
                              static_cast<int>(std::min(step, n_out - row)), static_cast<int>(n_in - skipped), &one,
                              (columns + skipped * x.cols).get(), k, on_device + row * stack.stride() + skipped, ld,
                              &zero, (product + row * x.cols).get(), k));
  }
  const DevicePointer<double> squares = slot->room<double>(Room::columns, x.cols);
  KVREPLAY_CUDA(squared_column_norms(product.get(), n_out, x.cols, squares.get(), slot->stream()));
  slot->download(norms.first(x.cols), squares);
  slot->wait();
}

std::vector<std::optional<double>> GpuBackend::half_log_dets(std::vector<Matrix64> matrices) {
  std::vector<std::optional<double>> results(matrices.size());
  if (matrices.empty() || matrices[0].rows == 0) return std::vector<std::optional<double>>(matrices.size(), 0.0);
  const std::size_t n = matrices[0].rows, count = matrices.size();
  // They belong to no layer: GPUs take turns.
  const StreamSlots::Lease slot(gpus_[turn_++ % gpus_.size()]->slots());
  const DevicePointer<double> factors = slot->room<double>(Room::products, count * n * n);
  std::vector<double*> addresses;
  for (std::size_t i = 0; i < count; ++i) {
    slot->upload(factors + i * n * n, std::span<const double>(matrices[i].values));
    addresses.push_back((factors + i * n * n).get());
  }
  const DevicePointer<double*> pointers = slot->room<double*>(Room::pointers, count);
  slot->upload(pointers, std::span<double* const>(addresses));
  const DevicePointer<int> info = slot->room<int>(Room::info, count);
  // An upper triangle in rows is a lower one in columns.
  KVREPLAY_CUDA(cusolverDnDpotrfBatched(slot->solver(), CUBLAS_FILL_MODE_LOWER, static_cast<int>(n), pointers.get(),
                                        static_cast<int>(n), info.get(), static_cast<int>(count)));
  const DevicePointer<double> sums = slot->room<double>(Room::sides, count);
  KVREPLAY_CUDA(sum_log_diagonals(factors.get(), count, n, sums.get(), slot->stream()));
  std::vector<double> values(count);
  std::vector<int> failed(count);
  slot->download(std::span(values), sums);
  slot->download(std::span(failed), info);
  slot->wait();
  for (std::size_t i = 0; i < count; ++i)
    if (failed[i] == 0) results[i] = values[i];
  return results;
}

Matrix64 GpuBackend::gram(ConstMatrixView rows, std::span<const double> weights) {
  std::vector<std::uint32_t> all(rows.rows);
  std::iota(all.begin(), all.end(), 0u);
  const std::size_t end[] = {all.size()};
  OuterSums sums;
  sum_outer_products(rows, rows, weights, all, end, false, sums);
  Matrix64 result(rows.cols, rows.cols);
  std::copy_n(sums.products.data(), result.values.size(), result.values.data());
  return result;
}

std::vector<double> GpuBackend::quadratic_forms(const Matrix64& matrix, ConstMatrixView rows) {
  std::vector<double> forms(rows.rows);
  if (rows.rows * rows.cols == 0) return forms;
  Gpu& gpu = gpu_of(rows);
  const StreamSlots::Lease slot(gpu.slots());
  DeviceStack stack = stack_of(gpu, *slot, {&rows, 1}, Room::keys, DType::float32);
  if (stack.dtype != DType::float32)
    stack = widened(*slot, stack, slot->room<float>(Room::wide, rows.rows * stack.stride()));
  const float* const narrow = reinterpret_cast<const float*>(stack.data.get());
  constexpr std::size_t kRows = 16384;  // in float64 at a time
  const std::size_t dim = rows.cols, most = std::min(kRows, rows.rows);
  const DevicePointer<double> middle = slot->room<double>(Room::products, dim * dim);
  const DevicePointer<double> left = slot->room<double>(Room::left, most * dim);
  const DevicePointer<double> turned = slot->room<double>(Room::right, most * dim);
  const DevicePointer<double> sums = slot->room<double>(Room::sides, rows.rows);
  slot->upload(middle, std::span<const double>(matrix.values));
  const double one = 1, zero = 0;
  const auto d = static_cast<int>(dim);
  for (std::size_t at = 0; at < rows.rows; at += kRows) {
    const std::size_t n = std::min(kRows, rows.rows - at);
    KVREPLAY_CUDA(gather_rows({.rows = narrow + at * stack.stride(),
                               .stride = stack.stride(),
                               .cols = dim,
                               .factors = nullptr,
                               .roots = false,
                               .index = nullptr,
                               .n = n,
                               .out = left.get()},
                              slot->stream()));
    KVREPLAY_CUDA(cublasDgemm(slot->blas(), CUBLAS_OP_N, CUBLAS_OP_N, d, static_cast<int>(n), d, &one, middle.get(), d,
                              left.get(), d, &zero, turned.get(), d));
    KVREPLAY_CUDA(row_products(left.get(), turned.get(), n, dim, (sums + at).get(), slot->stream()));
  }
  slot->download(std::span(forms), sums);
  slot->wait();
  return forms;
}

void GpuBackend::row_norms(ConstMatrixView rows, Norm norm, std::span<float> out) {
  // One pass over the rows: to send them takes longer than that.
  Gpu& gpu = gpu_of(rows);
  if (rows.rows == 0 || !gpu.held().find(rows)) return kvreplay::row_norms(rows, norm, out);
  const StreamSlots::Lease slot(gpu.slots());
  const DeviceStack stack = stack_of(gpu, *slot, {&rows, 1}, Room::keys, DType::float32);
  const DevicePointer<float> norms = slot->room<float>(Room::sides, rows.rows);
  KVREPLAY_CUDA(cuda::row_norms(stack.data.get(), stack.dtype, rows.rows, rows.cols, stack.stride(), norm == Norm::l1,
                                norms.get(), slot->stream()));
  slot->download(out.first(rows.rows), norms);
  slot->wait();
}

}  // namespace kvreplay::cuda
