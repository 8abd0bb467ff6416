#include "core/cpu/panel_kernels.h"

#include <algorithm>
#include <limits>

#include "core/metric.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/cpu/panel_kernels.cpp"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
// After highway.h, as its per-target includes demand.
#include <hwy/contrib/math/math-inl.h>

HWY_BEFORE_NAMESPACE();
namespace kvreplay::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::CappedTag<float, 16>;
using Ints = hn::RebindToSigned<Floats>;
using Vec = hn::Vec<Floats>;
constexpr Floats kFloats{};
constexpr std::size_t kLanes = hn::MaxLanes(kFloats);
constexpr std::size_t kVecs = kPanelWidth / kLanes;

void LogitsToWeights(float* logits, std::size_t n_keys, const std::int32_t* first, const std::int32_t* last,
                     float softcap, float* max) {
  const Ints ints{};
  // Rows that every lane sees need no mask; they are nearly all.
  std::int32_t all_from = 0, all_to = static_cast<std::int32_t>(n_keys) - 1;
  for (std::size_t l = 0; l < kPanelWidth; ++l) {
    all_from = std::max(all_from, first[l]);
    all_to = std::min(all_to, last[l]);
  }
  for (std::size_t v = 0; v < kVecs; ++v) {
    float* column = logits + v * kLanes;
    const auto from = hn::LoadU(ints, first + v * kLanes);
    const auto to = hn::LoadU(ints, last + v * kLanes);
    const Vec cap = hn::Set(kFloats, softcap);
    const Vec hidden = hn::Set(kFloats, -std::numeric_limits<float>::infinity());
    Vec top = hn::Set(kFloats, std::numeric_limits<float>::lowest());
    for (std::size_t i = 0; i < n_keys; ++i) {
      float* row = column + i * kPanelWidth;
      Vec logit = hn::Load(kFloats, row);
      const std::int32_t key = static_cast<std::int32_t>(i);
      const bool ragged = key < all_from || key > all_to;
      if (softcap > 0) logit = hn::Mul(cap, hn::Tanh(kFloats, hn::Div(logit, cap)));
      if (ragged) {
        const auto at = hn::Set(ints, key);
        const auto out_of_sight = hn::Or(hn::Lt(at, from), hn::Gt(at, to));
        logit = hn::IfThenElse(hn::RebindMask(kFloats, out_of_sight), hidden, logit);
      }
      if (ragged || softcap > 0) hn::Store(logit, kFloats, row);
      top = hn::Max(top, logit);
    }
    hn::StoreU(top, kFloats, max + v * kLanes);
    for (std::size_t i = 0; i < n_keys; ++i) {
      float* row = column + i * kPanelWidth;
      // exp(-inf) must be exactly 0; Highway's Exp clamps below -104, where the result is 0 too.
      hn::Store(hn::Exp(kFloats, hn::Sub(hn::Load(kFloats, row), top)), kFloats, row);
    }
  }
}

// Lines of memory that the walk will need next, one per token: they come in while the current tokens are summed.
struct Upcoming {
  const float* base;
  std::size_t stride;
  const std::uint32_t* index;
  std::size_t n;
};

// kDims dimensions of the values at a time: as many accumulators as the register file holds. With kSumWeights the
// weights themselves are summed too. Starts from zero or goes on from what `out` holds. Not inlined: GCC would then
// compute the address of every dimension apart.
template <std::size_t kDims, bool kSumWeights>
HWY_NOINLINE void SumDims(const float* HWY_RESTRICT weights, const float* HWY_RESTRICT values, std::size_t value_stride,
                          const std::uint32_t* HWY_RESTRICT index, std::size_t n, const Upcoming& next, bool from_zero,
                          float* HWY_RESTRICT out, float* HWY_RESTRICT out_weights) {
  Vec sums[kDims][kVecs];
  Vec weight_sums[kVecs];
#pragma GCC unroll 16
  for (std::size_t d = 0; d < kDims; ++d)
#pragma GCC unroll 32
    for (std::size_t v = 0; v < kVecs; ++v)
      sums[d][v] = from_zero ? hn::Zero(kFloats) : hn::Load(kFloats, out + d * kPanelWidth + v * kLanes);
  if (kSumWeights)
#pragma GCC unroll 32
    for (std::size_t v = 0; v < kVecs; ++v)
      weight_sums[v] = from_zero ? hn::Zero(kFloats) : hn::Load(kFloats, out_weights + v * kLanes);
  for (std::size_t i = 0; i < n; ++i) {
    if (i < next.n) hwy::Prefetch(next.base + std::size_t{next.index[i]} * next.stride);
    const float* HWY_RESTRICT e = weights + std::size_t{index[i]} * kPanelWidth;
    const float* HWY_RESTRICT value = values + std::size_t{index[i]} * value_stride;
    Vec lanes[kVecs];
#pragma GCC unroll 32
    for (std::size_t v = 0; v < kVecs; ++v) lanes[v] = hn::Load(kFloats, e + v * kLanes);
    if (kSumWeights)
#pragma GCC unroll 32
      for (std::size_t v = 0; v < kVecs; ++v) weight_sums[v] = hn::Add(weight_sums[v], lanes[v]);
#pragma GCC unroll 16
    for (std::size_t d = 0; d < kDims; ++d) {
      const Vec x = hn::Set(kFloats, value[d]);
#pragma GCC unroll 32
      for (std::size_t v = 0; v < kVecs; ++v) sums[d][v] = hn::MulAdd(lanes[v], x, sums[d][v]);
    }
  }
#pragma GCC unroll 16
  for (std::size_t d = 0; d < kDims; ++d)
#pragma GCC unroll 32
    for (std::size_t v = 0; v < kVecs; ++v) hn::Store(sums[d][v], kFloats, out + d * kPanelWidth + v * kLanes);
  if (kSumWeights)
#pragma GCC unroll 32
    for (std::size_t v = 0; v < kVecs; ++v) hn::Store(weight_sums[v], kFloats, out_weights + v * kLanes);
}

void SumTokens(const float* weights, const float* values, std::size_t value_stride, std::size_t value_dim,
               const std::uint32_t* index, std::size_t n, float* out_values, float* out_weights) {
  constexpr std::size_t kDims = std::max<std::size_t>(1, kVecs <= 2 ? 8 : 8 / kVecs);
  // A block of tokens whose weights (8 KiB) and values (16 KiB at 64 dimensions) stay in the first-level cache while
  // all dimensions go over them.
  constexpr std::size_t kBlock = 64;
  constexpr std::size_t kLine = 64 / sizeof(float);
  const std::size_t weight_lines = kPanelWidth / kLine;
  // At least one round, so that the sums of no tokens are zeros.
  for (std::size_t begin = 0; begin == 0 || begin < n; begin += kBlock) {
    const std::size_t count = std::min(kBlock, n - begin);
    const std::size_t next_begin = begin + count, n_next = std::min(kBlock, n - next_begin);
    std::size_t line = 0;
    const auto upcoming = [&]() -> Upcoming {
      const std::size_t l = line++;
      if (l < weight_lines) return {weights + l * kLine, kPanelWidth, index + next_begin, n_next};
      const std::size_t d = (l - weight_lines) * kLine;
      return {values + d, value_stride, index + next_begin, d < value_dim ? n_next : 0};
    };
    std::size_t d = 0;
    for (; d + kDims <= value_dim; d += kDims) {
      if (d == 0)
        SumDims<kDims, true>(weights, values, value_stride, index + begin, count, upcoming(), begin == 0, out_values,
                             out_weights);
      else
        SumDims<kDims, false>(weights, values + d, value_stride, index + begin, count, upcoming(), begin == 0,
                              out_values + d * kPanelWidth, out_weights);
    }
    for (; d < value_dim; ++d) {
      if (d == 0)
        SumDims<1, true>(weights, values, value_stride, index + begin, count, upcoming(), begin == 0, out_values,
                         out_weights);
      else
        SumDims<1, false>(weights, values + d, value_stride, index + begin, count, upcoming(), begin == 0,
                          out_values + d * kPanelWidth, out_weights);
    }
  }
}

void Add(const float* a, const float* b, std::size_t n, float* out) {
  for (std::size_t i = 0; i < n; i += kLanes)
    hn::Store(hn::Add(hn::Load(kFloats, a + i), hn::Load(kFloats, b + i)), kFloats, out + i);
}

void ErrorOfEviction(const float* values_s, const float* weights_s, const float* values_e, const float* weights_e,
                     std::size_t value_dim, float* errors, float* squared_errors, float* recall) {
  for (std::size_t v = 0; v < kPanelWidth; v += kLanes) {
    const Vec zero = hn::Zero(kFloats);
    const Vec kept = hn::Load(kFloats, weights_s + v);
    const Vec evicted = hn::Load(kFloats, weights_e + v);
    const Vec total = hn::Add(kept, evicted);
    const auto loses = hn::Gt(evicted, zero);
    const auto keeps = hn::Gt(kept, zero);
    // error = N_S * (Z_E / (Z Z_S)) - N_E / Z; both factors are 0 where nothing is evicted.
    const Vec share = hn::Div(evicted, total);
    const Vec of_kept = hn::IfThenElseZero(hn::And(loses, keeps), hn::Div(share, kept));
    const Vec of_evicted = hn::IfThenElseZero(loses, hn::Div(share, evicted));
    hn::Store(hn::IfThenElse(loses, hn::Div(kept, total), hn::Set(kFloats, 1.0f)), kFloats, recall + v);
    Vec norm = zero;
    for (std::size_t d = 0; d < value_dim; ++d) {
      const std::size_t at = d * kPanelWidth + v;
      const Vec lost = hn::Mul(hn::Load(kFloats, values_e + at), of_evicted);
      const Vec error = hn::Sub(hn::Mul(hn::Load(kFloats, values_s + at), of_kept), lost);
      hn::Store(error, kFloats, errors + at);
      norm = hn::MulAdd(error, error, norm);
    }
    hn::Store(norm, kFloats, squared_errors + v);
  }
}

const char* InstructionSet() { return hwy::TargetName(HWY_TARGET); }

}  // namespace kvreplay::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvreplay::cpu {

HWY_EXPORT(LogitsToWeights);
HWY_EXPORT(SumTokens);
HWY_EXPORT(Add);
HWY_EXPORT(ErrorOfEviction);
HWY_EXPORT(InstructionSet);

void logits_to_weights(float* logits, std::size_t n_keys, const std::int32_t* first, const std::int32_t* last,
                       float softcap, float* max) {
  HWY_DYNAMIC_DISPATCH(LogitsToWeights)(logits, n_keys, first, last, softcap, max);
}

void sum_tokens(const float* weights, const float* values, std::size_t value_stride, std::size_t value_dim,
                const std::uint32_t* index, std::size_t n, float* out_values, float* out_weights) {
  HWY_DYNAMIC_DISPATCH(SumTokens)
  (weights, values, value_stride, value_dim, index, n, out_values, out_weights);
}

void add(const float* a, const float* b, std::size_t n, float* out) { HWY_DYNAMIC_DISPATCH(Add)(a, b, n, out); }

void error_of_eviction(const float* values_s, const float* weights_s, const float* values_e, const float* weights_e,
                       std::size_t value_dim, float* errors, float* squared_errors, float* recall) {
  HWY_DYNAMIC_DISPATCH(ErrorOfEviction)
  (values_s, weights_s, values_e, weights_e, value_dim, errors, squared_errors, recall);
}

const char* instruction_set() { return HWY_DYNAMIC_DISPATCH(InstructionSet)(); }

}  // namespace kvreplay::cpu
#endif
