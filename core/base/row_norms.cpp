#include "core/base/row_norms.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/base/row_norms.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace kvreplay::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::CappedTag<float, 16>;
using Vec = hn::Vec<Floats>;
constexpr Floats kFloats{};
constexpr std::size_t kLanes = hn::MaxLanes(kFloats);

template <bool kL1>
float Term(float x) {
  return kL1 ? std::abs(x) : x * x;
}

template <bool kL1>
float SumOfTerms(const float* HWY_RESTRICT x, std::size_t n) {
  Vec sum = hn::Zero(kFloats);
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Vec v = hn::LoadU(kFloats, x + i);
    sum = kL1 ? hn::Add(sum, hn::Abs(v)) : hn::MulAdd(v, v, sum);
  }
  float total = hn::GetLane(hn::SumOfLanes(kFloats, sum));
  for (; i < n; ++i) total += Term<kL1>(x[i]);
  return total;
}

void RowNorms(const float* rows, std::size_t n_rows, std::size_t n_cols, std::size_t stride, bool l1, float* out) {
  for (std::size_t r = 0; r < n_rows; ++r) {
    const float* row = rows + r * stride;
    out[r] = l1 ? SumOfTerms<true>(row, n_cols) : std::sqrt(SumOfTerms<false>(row, n_cols));
  }
}

void RowDistances(const float* rows, std::size_t n_rows, std::size_t n_cols, std::size_t stride,
                  const float* HWY_RESTRICT point, float* out) {
  for (std::size_t r = 0; r < n_rows; ++r) {
    const float* HWY_RESTRICT row = rows + r * stride;
    Vec sum = hn::Zero(kFloats);
    std::size_t i = 0;
    for (; i + kLanes <= n_cols; i += kLanes) {
      const Vec difference = hn::Sub(hn::LoadU(kFloats, row + i), hn::LoadU(kFloats, point + i));
      sum = hn::MulAdd(difference, difference, sum);
    }
    float total = hn::GetLane(hn::SumOfLanes(kFloats, sum));
    for (; i < n_cols; ++i) total += Term<false>(row[i] - point[i]);
    out[r] = std::sqrt(total);
  }
}

void SquaredColumnNorms(const float* rows, std::size_t n_rows, std::size_t n_cols, std::size_t stride, double* out) {
  constexpr std::size_t kRows = 16;
  std::fill_n(out, n_cols, 0.0);
  for (std::size_t begin = 0; begin < n_rows; begin += kRows) {
    const std::size_t end = std::min(n_rows, begin + kRows);
    std::size_t c = 0;
    for (; c + kLanes <= n_cols; c += kLanes) {
      Vec sum = hn::Zero(kFloats);
      for (std::size_t r = begin; r < end; ++r) {
        const Vec x = hn::LoadU(kFloats, rows + r * stride + c);
        sum = hn::MulAdd(x, x, sum);
      }
      HWY_ALIGN float lanes[kLanes];
      hn::Store(sum, kFloats, lanes);
      for (std::size_t l = 0; l < kLanes; ++l) out[c + l] += double{lanes[l]};
    }
    for (; c < n_cols; ++c) {
      float sum = 0;
      for (std::size_t r = begin; r < end; ++r) sum += Term<false>(rows[r * stride + c]);
      out[c] += double{sum};
    }
  }
}

// A panel of columns and the rows that meet it at a time: as many accumulators as the register file holds.
constexpr std::size_t kPanelVecs = HWY_ARCH_ARM_A64 || kLanes == 16 ? 4 : 2;
constexpr std::size_t kPanelColumns = kPanelVecs * kLanes;
constexpr std::size_t kRowsAtOnce = 6;

// out[r] += sum of |row r . column| over the columns of a panel [dim, kPanelColumns].
template <std::size_t kRows>
void AddAbsoluteProducts(const float* HWY_RESTRICT rows, std::size_t stride, std::size_t dim,
                         const float* HWY_RESTRICT panel, float* HWY_RESTRICT out) {
  Vec sums[kRows][kPanelVecs];
#pragma GCC unroll 8
  for (std::size_t r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kPanelVecs; ++v) sums[r][v] = hn::Zero(kFloats);
  for (std::size_t d = 0; d < dim; ++d) {
    Vec columns[kPanelVecs];
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kPanelVecs; ++v) columns[v] = hn::Load(kFloats, panel + d * kPanelColumns + v * kLanes);
#pragma GCC unroll 8
    for (std::size_t r = 0; r < kRows; ++r) {
      const Vec x = hn::Set(kFloats, rows[r * stride + d]);
#pragma GCC unroll 4
      for (std::size_t v = 0; v < kPanelVecs; ++v) sums[r][v] = hn::MulAdd(columns[v], x, sums[r][v]);
    }
  }
#pragma GCC unroll 8
  for (std::size_t r = 0; r < kRows; ++r) {
    Vec total = hn::Zero(kFloats);
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kPanelVecs; ++v) total = hn::Add(total, hn::Abs(sums[r][v]));
    out[r] += hn::GetLane(hn::SumOfLanes(kFloats, total));
  }
}

template <std::size_t... kLast>
constexpr auto absolute_products_table(std::index_sequence<kLast...>) {
  return std::array<decltype(&AddAbsoluteProducts<1>), sizeof...(kLast)>{AddAbsoluteProducts<kLast + 1>...};
}

void ProjectedL1Norms(const ConstMatrixView& rows, const ConstMatrixView& projection, float* out) {
  constexpr auto kAdd = absolute_products_table(std::make_index_sequence<kRowsAtOnce>());
  std::fill_n(out, rows.rows, 0.0f);
  Buffer<float> panel(rows.cols * kPanelColumns);
  for (std::size_t c = 0; c < projection.cols; c += kPanelColumns) {
    const std::size_t n = std::min(kPanelColumns, projection.cols - c);
    for (std::size_t d = 0; d < rows.cols; ++d) {
      float* columns = panel.data() + d * kPanelColumns;
      std::copy_n(projection.row(d).data() + c, n, columns);
      std::fill(columns + n, columns + kPanelColumns, 0.0f);
    }
    for (std::size_t r = 0; r < rows.rows; r += kRowsAtOnce) {
      const std::size_t n_rows = std::min(kRowsAtOnce, rows.rows - r);
      kAdd[n_rows - 1](rows.row(r).data(), rows.stride, rows.cols, panel.data(), out + r);
    }
  }
}

}  // namespace kvreplay::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvreplay {

HWY_EXPORT(RowNorms);
HWY_EXPORT(RowDistances);
HWY_EXPORT(ProjectedL1Norms);
HWY_EXPORT(SquaredColumnNorms);

void row_norms(ConstMatrixView rows, Norm norm, std::span<float> out) {
  HWY_DYNAMIC_DISPATCH(RowNorms)(rows.data, rows.rows, rows.cols, rows.stride, norm == Norm::l1, out.data());
}

void row_distances(ConstMatrixView rows, std::span<const float> point, std::span<float> out) {
  HWY_DYNAMIC_DISPATCH(RowDistances)(rows.data, rows.rows, rows.cols, rows.stride, point.data(), out.data());
}

void projected_l1_norms(ConstMatrixView rows, ConstMatrixView projection, std::span<float> out) {
  HWY_DYNAMIC_DISPATCH(ProjectedL1Norms)(rows, projection, out.data());
}

void squared_column_norms(ConstMatrixView rows, std::span<double> out) {
  HWY_DYNAMIC_DISPATCH(SquaredColumnNorms)(rows.data, rows.rows, rows.cols, rows.stride, out.data());
}

}  // namespace kvreplay
#endif
