#include "core/lane_products.h"

#include <algorithm>

#include "core/metric.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/lane_products.cpp"
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
constexpr std::size_t kTile = HWY_ARCH_ARM_A64 || kLanes == 16 ? 4 : 3;

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
#pragma GCC unroll 4
  for (std::size_t r = 0; r < kA; ++r)
#pragma GCC unroll 4
    for (std::size_t c = 0; c < kB; ++c) sums[r][c] = hn::Zero(kFloats);
  const float* HWY_RESTRICT a = panels.a + i * kPanelWidth + lane;
  const float* HWY_RESTRICT b = panels.b + j * panels.dim * kPanelWidth + lane;
  for (std::size_t d = 0; d < panels.dim; ++d) {
    Vec columns[kB];
#pragma GCC unroll 4
    for (std::size_t c = 0; c < kB; ++c) columns[c] = hn::LoadU(kFloats, b + (c * panels.dim + d) * kPanelWidth);
#pragma GCC unroll 4
    for (std::size_t r = 0; r < kA; ++r) {
      const Vec row = hn::Load(kFloats, a + (d * panels.n_a + r) * kPanelWidth);
#pragma GCC unroll 4
      for (std::size_t c = 0; c < kB; ++c) sums[r][c] = hn::MulAdd(row, columns[c], sums[r][c]);
    }
  }
#pragma GCC unroll 4
  for (std::size_t c = 0; c < kB; ++c)
#pragma GCC unroll 4
    for (std::size_t r = 0; r < kA; ++r)
      hn::Store(sums[r][c], kFloats, panels.out + ((j + c) * panels.n_a + i + r) * kPanelWidth + lane);
}

template <std::size_t kA>
void MultiplyRows(const Panels& panels, std::size_t i, std::size_t n_b, std::size_t lane) {
  std::size_t j = 0;
  for (; j + kTile <= n_b; j += kTile) MultiplyTile<kA, kTile>(panels, i, j, lane);
  for (; j < n_b; ++j) MultiplyTile<kA, 1>(panels, i, j, lane);
}

void LaneProducts(const float* a, std::size_t n_a, const float* b, std::size_t n_b, std::size_t dim, float* out) {
  const Panels panels{a, b, n_a, dim, out};
  for (std::size_t lane = 0; lane < kPanelWidth; lane += kLanes) {
    std::size_t i = 0;
    for (; i + kTile <= n_a; i += kTile) MultiplyRows<kTile>(panels, i, n_b, lane);
    for (; i < n_a; ++i) MultiplyRows<1>(panels, i, n_b, lane);
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
