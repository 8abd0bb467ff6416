#include "core/cpu/panel_kernels.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "core/engine/output_sink.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/cpu/panel_kernels.cpp"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
// After highway.h, as its per-target includes demand.
#include <hwy/contrib/math/math-inl.h>

#include "core/cpu/exponential-inl.h"

HWY_BEFORE_NAMESPACE();
namespace kvreplay::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::CappedTag<float, 16>;
using Ints = hn::RebindToSigned<Floats>;
using Vec = hn::Vec<Floats>;
constexpr Floats kFloats{};
constexpr std::size_t kLanes = hn::MaxLanes(kFloats);
constexpr std::size_t kVecs = kPanelWidth / kLanes;
// Rows of kVecs accumulators that the register file holds beside their operands: 32 registers, or 16.
constexpr std::size_t kRegisters = HWY_ARCH_ARM_A64 || kLanes == 16 ? 32 : 16;
constexpr std::size_t kTile = kRegisters < 4 + 2 * kVecs ? 1 : (kRegisters - 4 - kVecs) / kVecs;

// Floats of a line of memory.
constexpr std::size_t kLine = 64 / sizeof(float);

// Calls use(begin, size) for parts of [0, n) that are as equal as can be, of at most kTile.
template <typename Use>
HWY_INLINE void for_each_tile(std::size_t n, Use use) {
  const std::size_t n_parts = (n + kTile - 1) / kTile;
  for (std::size_t part = 0, begin = 0; part < n_parts; ++part) {
    const std::size_t size = n / n_parts + (part < n % n_parts);
    use(begin, size);
    begin += size;
  }
}

// The keys that a panel's lanes see: first and last, [kPanelWidth].
struct Sight {
  const std::int32_t* first;
  const std::int32_t* last;
};

// Tile rows of logits: kKeys keys at a time against a panel, as many accumulators as the register file holds. The keys
// at `ahead` come into the cache meanwhile: their rows side by side are more streams than processors foresee.
template <std::size_t kKeys>
HWY_NOINLINE void LogitRows(const float* HWY_RESTRICT keys, std::size_t key_stride, std::size_t dim, const float* ahead,
                            const float* HWY_RESTRICT queries, float scale, float* HWY_RESTRICT out,
                            std::size_t out_stride) {
  Vec sums[kKeys][kVecs];
#pragma GCC unroll 16
  for (std::size_t k = 0; k < kKeys; ++k)
#pragma GCC unroll 32
    for (std::size_t v = 0; v < kVecs; ++v) sums[k][v] = hn::Zero(kFloats);
  for (std::size_t d = 0; d < dim; ++d) {
    hwy::Prefetch(ahead + d * kLine);
    Vec lanes[kVecs];
#pragma GCC unroll 32
    for (std::size_t v = 0; v < kVecs; ++v) lanes[v] = hn::Load(kFloats, queries + d * kPanelWidth + v * kLanes);
#pragma GCC unroll 16
    for (std::size_t k = 0; k < kKeys; ++k) {
      const Vec x = hn::Set(kFloats, keys[k * key_stride + d]);
#pragma GCC unroll 32
      for (std::size_t v = 0; v < kVecs; ++v) sums[k][v] = hn::MulAdd(lanes[v], x, sums[k][v]);
    }
  }
  const Vec factor = hn::Set(kFloats, scale);
#pragma GCC unroll 16
  for (std::size_t k = 0; k < kKeys; ++k)
#pragma GCC unroll 32
    for (std::size_t v = 0; v < kVecs; ++v)
      hn::Store(hn::Mul(sums[k][v], factor), kFloats, out + k * out_stride + v * kLanes);
}

// Softcap and mask of keys [begin, end) of a tile, in place, and the running maximum. `rows` is the row of key `begin`.
void CapAndMask(float softcap, const Sight& sight, std::size_t begin, std::size_t end, float* rows, std::size_t stride,
                float* tops) {
  const Ints ints{};
  const Vec hidden = hn::Set(kFloats, -std::numeric_limits<float>::infinity());
  const Vec cap = hn::Set(kFloats, softcap);
  // Rows that every lane sees need no mask; they are nearly all.
  const bool ragged = *std::max_element(sight.first, sight.first + kPanelWidth) > static_cast<std::int32_t>(begin) ||
                      *std::min_element(sight.last, sight.last + kPanelWidth) < static_cast<std::int32_t>(end) - 1;
  for (std::size_t v = 0; v < kPanelWidth; v += kLanes) {
    const auto from = hn::LoadU(ints, sight.first + v), to = hn::LoadU(ints, sight.last + v);
    Vec top = hn::LoadU(kFloats, tops + v);
    for (std::size_t i = begin; i < end; ++i) {
      float* row = rows + (i - begin) * stride + v;
      Vec logit = hn::Load(kFloats, row);
      if (softcap > 0) logit = hn::Mul(cap, hn::Tanh(kFloats, hn::Div(logit, cap)));
      if (ragged) {
        const auto at = hn::Set(ints, static_cast<std::int32_t>(i));
        const auto out_of_sight = hn::Or(hn::Lt(at, from), hn::Gt(at, to));
        logit = hn::IfThenElse(hn::RebindMask(kFloats, out_of_sight), hidden, logit);
      }
      if (ragged || softcap > 0) hn::Store(logit, kFloats, row);
      top = hn::Max(top, logit);
    }
    hn::StoreU(top, kFloats, tops + v);
  }
}

// exp(row - top) in place;
// \return  their sums are added to sums[kPanelWidth]
void ExponentialRows(std::size_t n, float* rows, std::size_t stride, const float* tops, float* sums) {
  for (std::size_t v = 0; v < kPanelWidth; v += kLanes) {
    const Vec top = hn::LoadU(kFloats, tops + v);
    Vec sum = hn::Zero(kFloats);
    for (std::size_t i = 0; i < n; ++i) {
      const Vec weight = Exponential(kFloats, hn::Sub(hn::Load(kFloats, rows + i * stride + v), top));
      hn::Store(weight, kFloats, rows + i * stride + v);
      sum = hn::Add(sum, weight);
    }
    hn::StoreU(sum, kFloats, sums + v);
  }
}

using LogitRowsFunction = decltype(&LogitRows<1>);
template <std::size_t... kLast>
constexpr auto logit_rows_table(std::index_sequence<kLast...>) {
  return std::array<LogitRowsFunction, sizeof...(kLast)>{LogitRows<kLast + 1>...};
}

void WeighTiles(const PanelProduct& product, float* weights, float* factors, float* sums) {
  constexpr auto kLogitRows = logit_rows_table(std::make_index_sequence<kTile>());
  const std::size_t width = product.n_panels * kPanelWidth;
  const std::size_t n_tiles = (product.n_keys + kWeightTile - 1) / kWeightTile;
  const float* tops = nullptr;  // of the tile before
  for (std::size_t t = 0; t < n_tiles; ++t) {
    const std::size_t begin = t * kWeightTile, end = std::min(begin + kWeightTile, product.n_keys);
    float* tile_tops = factors + t * width;
    if (tops == nullptr)
      std::fill_n(tile_tops, width, std::numeric_limits<float>::lowest());
    else
      std::copy_n(tops, width, tile_tops);
    tops = tile_tops;
    const float* keys = product.keys + begin * product.key_stride;
    for (std::size_t p = 0; p < product.n_panels; ++p) {
      const float* queries = product.queries + p * product.dim * kPanelWidth;
      float* rows = weights + begin * width + p * kPanelWidth;
      for_each_tile(end - begin, [&](std::size_t i, std::size_t n) {
        // As many lines as there are dimensions: a few keys more than come next, and none that is not there.
        const std::size_t next = begin + i + n;
        const float* ahead = next + kLine <= product.n_keys ? product.keys + next * product.key_stride : keys;
        kLogitRows[n - 1](keys + i * product.key_stride, product.key_stride, product.dim, ahead, queries, product.scale,
                          rows + i * width, width);
      });
      const Sight sight{product.first + p * kPanelWidth, product.last + p * kPanelWidth};
      CapAndMask(product.softcap, sight, begin, end, rows, width, tile_tops + p * kPanelWidth);
      ExponentialRows(end - begin, rows, width, tile_tops + p * kPanelWidth, sums + (t * width + p * kPanelWidth));
    }
  }
  // What a tile's own maximum lacks to that of all keys.
  for (std::size_t v = 0; v < width; v += kLanes) {
    const Vec top = hn::LoadU(kFloats, tops + v);
    for (std::size_t t = 0; t < n_tiles; ++t) {
      float* factor = factors + t * width + v;
      hn::StoreU(Exponential(kFloats, hn::Sub(hn::LoadU(kFloats, factor), top)), kFloats, factor);
    }
  }
}

void ScaleTiles(const float* factors, std::size_t n_keys, std::size_t width, float* weights) {
  for (std::size_t begin = 0; begin < n_keys; begin += kWeightTile, factors += width) {
    // Most tiles come after the key with the largest logit.
    if (std::all_of(factors, factors + width, [](float factor) { return factor == 1.0f; })) continue;
    const std::size_t end = std::min(begin + kWeightTile, n_keys);
    for (std::size_t v = 0; v < width; v += kLanes) {
      const Vec factor = hn::LoadU(kFloats, factors + v);
      for (std::size_t i = begin; i < end; ++i) {
        float* row = weights + i * width + v;
        // Down to 0 where it would become denormal.
        const Vec scaled = hn::Mul(hn::Load(kFloats, row), factor);
        hn::Store(hn::IfThenElseZero(hn::Ge(scaled, hn::Set(kFloats, kSmallestWeight)), scaled), kFloats, row);
      }
    }
  }
}

void AddColumns(const float* weights, const float* factors, std::size_t n_keys, std::size_t width, float* columns) {
  for (std::size_t begin = 0; begin < n_keys; begin += kWeightTile, factors += width) {
    const std::size_t end = std::min(begin + kWeightTile, n_keys);
    for (std::size_t i = begin; i < end; ++i) {
      float* column = columns + i * kColumnLanes;
      Vec sum = hn::Load(kFloats, column);
      for (std::size_t v = 0; v < width; v += kLanes)
        sum = hn::MulAdd(hn::Load(kFloats, weights + i * width + v), hn::LoadU(kFloats, factors + v), sum);
      hn::Store(sum, kFloats, column);
    }
  }
}

void DrainColumns(float* columns, std::size_t n_keys, double* sums) {
  for (std::size_t i = 0; i < n_keys; ++i) {
    float* column = columns + i * kColumnLanes;
    sums[i] += double{hn::GetLane(hn::SumOfLanes(kFloats, hn::Load(kFloats, column)))};
    hn::Store(hn::Zero(kFloats), kFloats, column);
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
HWY_NOINLINE void SumDims(const float* HWY_RESTRICT weights, std::size_t weight_stride,
                          const float* HWY_RESTRICT values, std::size_t value_stride,
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
    const float* HWY_RESTRICT e = weights + std::size_t{index[i]} * weight_stride;
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

using SumDimsFunction = decltype(&SumDims<1, false>);
template <bool kSumWeights, std::size_t... kLast>
constexpr auto sum_dims_table(std::index_sequence<kLast...>) {
  return std::array<SumDimsFunction, sizeof...(kLast)>{SumDims<kLast + 1, kSumWeights>...};
}

void SumTokens(const TokenWalk& walk, const std::uint32_t* index, std::size_t n, const PanelTarget& out) {
  constexpr auto kSumDims = sum_dims_table<false>(std::make_index_sequence<kTile>());
  constexpr auto kSumDimsAndWeights = sum_dims_table<true>(std::make_index_sequence<kTile>());
  // A block of tokens whose weights (4 KiB a panel) and values (16 KiB at a time) stay in the first-level cache, which
  // two threads may share, while all panels and dimensions go over them.
  constexpr std::size_t kBlock = 32, kPart = 128;
  const std::size_t weight_lines = walk.n_panels * kPanelWidth / kLine;
  // At least one round, so that the sums of no tokens are zeros.
  for (std::size_t begin = 0; begin == 0 || begin < n; begin += kBlock) {
    const std::size_t count = std::min(kBlock, n - begin);
    const std::size_t next_begin = begin + count, n_next = std::min(kBlock, n - next_begin);
    std::size_t line = 0;
    const auto upcoming = [&]() -> Upcoming {
      const std::size_t l = line++;
      if (l < weight_lines) return {walk.weights + l * kLine, walk.weight_stride, index + next_begin, n_next};
      const std::size_t d = (l - weight_lines) * kLine;
      return {walk.values + d, walk.value_stride, index + next_begin, d < walk.value_dim ? n_next : 0};
    };
    for (std::size_t part = 0; part < walk.value_dim; part += kPart)
      for (std::size_t p = 0; p < walk.n_panels; ++p) {
        const float* weights = walk.weights + p * kPanelWidth;
        float* values = out.values + p * out.values_stride;
        float* weight_sums = out.weights + p * out.weights_stride;
        for_each_tile(std::min(kPart, walk.value_dim - part), [&](std::size_t at, std::size_t n_dims) {
          const std::size_t d = part + at;
          const SumDimsFunction sum = d == 0 ? kSumDimsAndWeights[n_dims - 1] : kSumDims[n_dims - 1];
          sum(weights, walk.weight_stride, walk.values + d, walk.value_stride, index + begin, count, upcoming(),
              begin == 0, values + d * kPanelWidth, weight_sums);
        });
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

HWY_EXPORT(WeighTiles);
HWY_EXPORT(ScaleTiles);
HWY_EXPORT(AddColumns);
HWY_EXPORT(DrainColumns);
HWY_EXPORT(SumTokens);
HWY_EXPORT(Add);
HWY_EXPORT(ErrorOfEviction);
HWY_EXPORT(InstructionSet);

void weigh_tiles(const PanelProduct& product, float* weights, float* factors, float* sums) {
  HWY_DYNAMIC_DISPATCH(WeighTiles)(product, weights, factors, sums);
}

void scale_tiles(const float* factors, std::size_t n_keys, std::size_t width, float* weights) {
  HWY_DYNAMIC_DISPATCH(ScaleTiles)(factors, n_keys, width, weights);
}

void add_columns(const float* weights, const float* factors, std::size_t n_keys, std::size_t width, float* columns) {
  HWY_DYNAMIC_DISPATCH(AddColumns)(weights, factors, n_keys, width, columns);
}

void drain_columns(float* columns, std::size_t n_keys, double* sums) {
  HWY_DYNAMIC_DISPATCH(DrainColumns)(columns, n_keys, sums);
}

void sum_tokens(const TokenWalk& walk, const std::uint32_t* index, std::size_t n, const PanelTarget& out) {
  HWY_DYNAMIC_DISPATCH(SumTokens)(walk, index, n, out);
}

void add(const float* a, const float* b, std::size_t n, float* out) { HWY_DYNAMIC_DISPATCH(Add)(a, b, n, out); }

void errors_at_budget(const float* values_s, const float* weights_s, const float* values_e, const float* weights_e,
                      std::size_t value_dim, float* errors, float* squared_errors, float* recall) {
  HWY_DYNAMIC_DISPATCH(ErrorOfEviction)
  (values_s, weights_s, values_e, weights_e, value_dim, errors, squared_errors, recall);
}

const char* instruction_set() { return HWY_DYNAMIC_DISPATCH(InstructionSet)(); }

}  // namespace kvreplay::cpu
#endif
