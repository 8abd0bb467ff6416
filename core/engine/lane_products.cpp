#include "core/engine/lane_products.h"

#include <array>
#include <utility>

#include "core/engine/output_sink.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/engine/lane_products.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace kvreplay::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::CappedTag<float, 16>;
using Vec = hn::Vec<Floats>;
constexpr Floats kFloats{};
constexpr std::size_t kLanes = hn::MaxLanes(kFloats);
// Vectors of each side that meet at a time: their products are as many accumulators as the register file holds.
constexpr std::size_t kRowTile = HWY_ARCH_ARM_A64 || kLanes == 16 ? 4 : 3;
constexpr std::size_t kColumnTile = HWY_ARCH_ARM_A64 || kLanes == 16 ? 6 : 3;

struct Panels {
  const float* a;
  const float* b;
  std::size_t n_a, dim;
  float* out;
};

// One vector of lanes of kA x kB products.
template <std::size_t kA, std::size_t kB>
HWY_NOINLINE void MultiplyTile(const Panels& panels, std::size_t i, std::size_t j, std::size_t lane) {
  Vec sums[kA][kB];
#pragma GCC unroll 6
  for (std::size_t r = 0; r < kA; ++r)
#pragma GCC unroll 6
    for (std::size_t c = 0; c < kB; ++c) sums[r][c] = hn::Zero(kFloats);
  const float* HWY_RESTRICT a = panels.a + i * kPanelWidth + lane;
  const float* HWY_RESTRICT b = panels.b + j * panels.dim * kPanelWidth + lane;
  for (std::size_t d = 0; d < panels.dim; ++d) {
    Vec columns[kB];
#pragma GCC unroll 6
    for (std::size_t c = 0; c < kB; ++c) columns[c] = hn::LoadU(kFloats, b + (c * panels.dim + d) * kPanelWidth);
#pragma GCC unroll 6
    for (std::size_t r = 0; r < kA; ++r) {
      const Vec row = hn::Load(kFloats, a + (d * panels.n_a + r) * kPanelWidth);
#pragma GCC unroll 6
      for (std::size_t c = 0; c < kB; ++c) sums[r][c] = hn::MulAdd(row, columns[c], sums[r][c]);
    }
  }
#pragma GCC unroll 6
  for (std::size_t c = 0; c < kB; ++c)
#pragma GCC unroll 6
    for (std::size_t r = 0; r < kA; ++r)
      hn::Store(sums[r][c], kFloats, panels.out + ((j + c) * panels.n_a + i + r) * kPanelWidth + lane);
}

template <std::size_t kB>
void MultiplyColumns(const Panels& panels, std::size_t j, std::size_t lane) {
  std::size_t i = 0;
  for (; i + kRowTile <= panels.n_a; i += kRowTile) MultiplyTile<kRowTile, kB>(panels, i, j, lane);
  for (; i < panels.n_a; ++i) MultiplyTile<1, kB>(panels, i, j, lane);
}

template <std::size_t... kLast>
constexpr auto columns_table(std::index_sequence<kLast...>) {
  return std::array<decltype(&MultiplyColumns<1>), sizeof...(kLast)>{MultiplyColumns<kLast + 1>...};
}

// A tile of columns stays in the first-level cache while all rows come by.
void LaneProducts(const float* a, std::size_t n_a, const float* b, std::size_t n_b, std::size_t dim, float* out) {
  constexpr auto kMultiply = columns_table(std::make_index_sequence<kColumnTile>());
  const Panels panels{a, b, n_a, dim, out};
  const std::size_t n_tiles = (n_b + kColumnTile - 1) / kColumnTile;
  for (std::size_t lane = 0; lane < kPanelWidth; lane += kLanes)
    for (std::size_t tile = 0, j = 0; tile < n_tiles; ++tile) {
      const std::size_t size = n_b / n_tiles + (tile < n_b % n_tiles);
      kMultiply[size - 1](panels, j, lane);
      j += size;
    }
}

}  // namespace kvreplay::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvreplay {

HWY_EXPORT(LaneProducts);

void lane_products(const float* a, std::size_t n_a, const float* b, std::size_t n_b, std::size_t dim, float* out) {
  HWY_DYNAMIC_DISPATCH(LaneProducts)(a, n_a, b, n_b, dim, out);
}

}  // namespace kvreplay
#endif
