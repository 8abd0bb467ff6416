#include "core/cpu/row_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/cpu/row_kernels.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include <algorithm>
#include <limits>

#include "core/cpu/exponential-inl.h"
#include "core/cpu/panel_kernels.h"

HWY_BEFORE_NAMESPACE();
namespace kvreplay::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

const hn::ScalableTag<float> kRow{};
using RowVec = hn::Vec<decltype(kRow)>;

// Calls use(offset, mask) over n elements, the last ones with a mask.
template <typename Use, typename UseTail>
void for_each_vector(std::size_t begin, std::size_t end, Use use, UseTail use_tail) {
  const std::size_t lanes = hn::Lanes(kRow);
  std::size_t i = begin;
  for (; i + lanes <= end; i += lanes) use(i);
  if (i < end) use_tail(i, hn::FirstN(kRow, end - i));
}

double Exponentials(float* logits, std::size_t n, float softcap) {
  const RowVec lowest = hn::Set(kRow, std::numeric_limits<float>::lowest());
  if (softcap > 0) {
    const RowVec cap = hn::Set(kRow, softcap);
    const auto capped = [&](RowVec logit) { return hn::Mul(cap, hn::Tanh(kRow, hn::Div(logit, cap))); };
    for_each_vector(
        0, n, [&](std::size_t i) { hn::StoreU(capped(hn::LoadU(kRow, logits + i)), kRow, logits + i); },
        [&](std::size_t i, auto mask) {
          hn::BlendedStore(capped(hn::MaskedLoad(mask, kRow, logits + i)), mask, kRow, logits + i);
        });
  }
  RowVec top = lowest;
  for_each_vector(
      0, n, [&](std::size_t i) { top = hn::Max(top, hn::LoadU(kRow, logits + i)); },
      [&](std::size_t i, auto mask) {
        top = hn::Max(top, hn::IfThenElse(mask, hn::MaskedLoad(mask, kRow, logits + i), lowest));
      });
  const RowVec max = hn::MaxOfLanes(kRow, top);
  double sum = 0;
  for (std::size_t begin = 0; begin < n; begin += kSumBlock) {
    RowVec block = hn::Zero(kRow);
    for_each_vector(
        begin, std::min(n, begin + kSumBlock),
        [&](std::size_t i) {
          const RowVec weight = Exponential(kRow, hn::Sub(hn::LoadU(kRow, logits + i), max));
          hn::StoreU(weight, kRow, logits + i);
          block = hn::Add(block, weight);
        },
        [&](std::size_t i, auto mask) {
          const RowVec weight = Exponential(kRow, hn::Sub(hn::MaskedLoad(mask, kRow, logits + i), max));
          hn::BlendedStore(weight, mask, kRow, logits + i);
          block = hn::Add(block, hn::IfThenElseZero(mask, weight));
        });
    sum += hn::GetLane(hn::SumOfLanes(kRow, block));
  }
  return sum;
}

void AddScaled(const float* row, std::size_t n, float scale, float* out) {
  const RowVec factor = hn::Set(kRow, scale);
  for_each_vector(
      0, n,
      [&](std::size_t i) {
        hn::StoreU(hn::MulAdd(hn::LoadU(kRow, row + i), factor, hn::LoadU(kRow, out + i)), kRow, out + i);
      },
      [&](std::size_t i, auto mask) {
        const RowVec sum = hn::MulAdd(hn::MaskedLoad(mask, kRow, row + i), factor, hn::MaskedLoad(mask, kRow, out + i));
        hn::BlendedStore(sum, mask, kRow, out + i);
      });
}

void Scale(float* row, std::size_t n, float scale) {
  const RowVec factor = hn::Set(kRow, scale);
  for_each_vector(
      0, n, [&](std::size_t i) { hn::StoreU(hn::Mul(hn::LoadU(kRow, row + i), factor), kRow, row + i); },
      [&](std::size_t i, auto mask) {
        hn::BlendedStore(hn::Mul(hn::MaskedLoad(mask, kRow, row + i), factor), mask, kRow, row + i);
      });
}

void ScaleToDouble(const float* row, std::size_t n, double scale, double* out) {
  const hn::ScalableTag<double> doubles;
  const hn::Rebind<float, decltype(doubles)> floats;  // as many, half as wide
  const auto factor = hn::Set(doubles, scale);
  const std::size_t lanes = hn::Lanes(doubles);
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes)
    hn::StoreU(hn::Mul(hn::PromoteTo(doubles, hn::LoadU(floats, row + i)), factor), doubles, out + i);
  for (; i < n; ++i) out[i] = scale * double{row[i]};
}

}  // namespace kvreplay::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvreplay::cpu {

HWY_EXPORT(Exponentials);
HWY_EXPORT(AddScaled);
HWY_EXPORT(Scale);
HWY_EXPORT(ScaleToDouble);

double exponentials(float* logits, std::size_t n, float softcap) {
  return HWY_DYNAMIC_DISPATCH(Exponentials)(logits, n, softcap);
}

void add_scaled(const float* row, std::size_t n, float factor, float* out) {
  HWY_DYNAMIC_DISPATCH(AddScaled)(row, n, factor, out);
}

void scale(float* row, std::size_t n, float factor) { HWY_DYNAMIC_DISPATCH(Scale)(row, n, factor); }

void scale_to_double(const float* row, std::size_t n, double factor, double* out) {
  HWY_DYNAMIC_DISPATCH(ScaleToDouble)(row, n, factor, out);
}

}  // namespace kvreplay::cpu
#endif
