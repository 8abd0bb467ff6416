#include "core/base/dtype.h"

#include <bit>
#include <cassert>
#include <cmath>
#include <cstring>

// Highway compiles what lies between HWY_BEFORE_NAMESPACE and HWY_AFTER_NAMESPACE once per instruction set.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/base/dtype.cpp"
#include "hwy/cache_control.h"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace kvreplay::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::ScalableTag<float>;
using Words = hn::RebindToUnsigned<Floats>;
using Halves = hn::Rebind<std::uint16_t, Floats>;  // as many 16-bit lanes as Floats has lanes

// Highway 1.0.3 turns infinity into 65536 and truncates when it demotes where there is no instruction for float16.
#if (HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2 && !defined(HWY_DISABLE_F16C)) || HWY_ARCH_ARM_A64
constexpr bool kHardwareFloat16 = true;
#else
constexpr bool kHardwareFloat16 = false;
#endif

template <class Half>
auto float16_to_float32(Half half) {
  const Floats floats;
  const Words words;
  if constexpr (kHardwareFloat16) {
    return hn::PromoteTo(floats, hn::BitCast(hn::Rebind<hwy::float16_t, Floats>(), half));
  } else {
    const auto bits = hn::PromoteTo(words, half);
    const auto sign = hn::ShiftLeft<16>(hn::And(bits, hn::Set(words, 0x8000u)));
    const auto magnitude = hn::ShiftLeft<13>(hn::And(bits, hn::Set(words, 0x7FFFu)));
    const auto exponent = hn::And(magnitude, hn::Set(words, 0x0F800000u));
    const auto normal = hn::Add(magnitude, hn::Set(words, (127u - 15u) << 23));
    const auto special = hn::Add(magnitude, hn::Set(words, (255u - 31u) << 23));  // infinity, NaN
    // A subnormal is mantissa * 2^-24: give it the exponent of 2^-14, then take the implied leading one away.
    const auto with_one = hn::BitCast(floats, hn::Add(normal, hn::Set(words, 1u << 23)));
    const auto subnormal = hn::BitCast(words, hn::Sub(with_one, hn::Set(floats, 0x1p-14f)));
    auto result = hn::IfThenElse(hn::Eq(exponent, hn::Set(words, 0x0F800000u)), special, normal);
    result = hn::IfThenElse(hn::Eq(exponent, hn::Zero(words)), subnormal, result);
    return hn::BitCast(floats, hn::Or(result, sign));
  }
}

template <class Float>
auto float32_to_float16(Float value) {
  const Floats floats;
  const Words words;
  const Halves halves;
  if constexpr (kHardwareFloat16) {
    return hn::BitCast(halves, hn::DemoteTo(hn::Rebind<hwy::float16_t, Floats>(), value));
  } else {
    const auto bits = hn::BitCast(words, value);
    const auto sign = hn::And(bits, hn::Set(words, 0x80000000u));
    const auto magnitude = hn::Xor(bits, sign);
    // Normal results: rebias, add half a unit in the last place less one, and one more when the last bit is odd.
    // The carry of 65520 and above lands on the pattern of infinity by itself.
    const auto odd = hn::And(hn::ShiftRight<13>(magnitude), hn::Set(words, 1u));
    const auto rebiased = hn::Add(hn::Sub(magnitude, hn::Set(words, (127u - 15u) << 23)), hn::Set(words, 0xFFFu));
    const auto normal = hn::ShiftRight<13>(hn::Add(rebiased, odd));
    // Subnormal results: adding 0.5 leaves units of 2^-24 as the mantissa, rounded by the addition itself.
    const auto shifted = hn::Add(hn::BitCast(floats, magnitude), hn::Set(floats, 0.5f));
    const auto subnormal = hn::Sub(hn::BitCast(words, shifted), hn::Set(words, 0x3F000000u));
    const auto is_subnormal = hn::Lt(magnitude, hn::Set(words, 113u << 23));
    const auto is_special = hn::Gt(magnitude, hn::Set(words, (143u << 23) - 1));  // 65536 and above
    const auto is_nan = hn::Gt(magnitude, hn::Set(words, 0x7F800000u));
    const auto special = hn::IfThenElse(is_nan, hn::Set(words, 0x7E00u), hn::Set(words, 0x7C00u));
    auto result = hn::IfThenElse(is_subnormal, subnormal, normal);
    result = hn::IfThenElse(is_special, special, result);
    return hn::TruncateTo(halves, hn::Or(result, hn::ShiftRight<16>(sign)));
  }
}

template <class Half>
auto bfloat16_to_float32(Half half) {
  return hn::BitCast(Floats(), hn::ShiftLeft<16>(hn::PromoteTo(Words(), half)));
}

template <class Float>
auto float32_to_bfloat16(Float value) {
  const Words words;
  const auto bits = hn::BitCast(words, value);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(words, 1u));
  const auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(words, 0x7FFFu)));
  const auto quiet_nan = hn::Or(bits, hn::Set(words, 0x00400000u));
  const auto is_nan = hn::Gt(hn::And(bits, hn::Set(words, 0x7FFFFFFFu)), hn::Set(words, 0x7F800000u));
  return hn::TruncateTo(Halves(), hn::ShiftRight<16>(hn::IfThenElse(is_nan, quiet_nan, rounded)));
}

/// Applies `convert` to whole vectors; the rest goes through a padded copy.
template <class InTag, class OutTag, class Convert>
void convert_all(InTag in_tag, OutTag out_tag, const void* source, void* target, std::size_t n, Convert convert) {
  using In = hn::TFromD<InTag>;
  using Out = hn::TFromD<OutTag>;
  const std::size_t lanes = hn::Lanes(in_tag);
  const In* in = static_cast<const In*>(source);
  Out* out = static_cast<Out*>(target);
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(convert(hn::LoadU(in_tag, in + i)), out_tag, out + i);
  if (i == n) return;
  HWY_ALIGN In in_rest[hn::MaxLanes(in_tag)] = {};
  HWY_ALIGN Out out_rest[hn::MaxLanes(out_tag)];
  std::memcpy(in_rest, static_cast<const std::byte*>(source) + i * sizeof(In), (n - i) * sizeof(In));
  hn::Store(convert(hn::Load(in_tag, in_rest)), out_tag, out_rest);
  std::memcpy(static_cast<std::byte*>(target) + i * sizeof(Out), out_rest, (n - i) * sizeof(Out));
}

void PromoteFloat16(const void* source, float* out, std::size_t n) {
  convert_all(Halves(), Floats(), source, out, n, [](auto v) HWY_ATTR { return float16_to_float32(v); });
}

void PromoteBfloat16(const void* source, float* out, std::size_t n) {
  convert_all(Halves(), Floats(), source, out, n, [](auto v) HWY_ATTR { return bfloat16_to_float32(v); });
}

void DemoteFloat16(const float* source, void* out, std::size_t n) {
  convert_all(Floats(), Halves(), source, out, n, [](auto v) HWY_ATTR { return float32_to_float16(v); });
}

void DemoteBfloat16(const float* source, void* out, std::size_t n) {
  convert_all(Floats(), Halves(), source, out, n, [](auto v) HWY_ATTR { return float32_to_bfloat16(v); });
}

/// Like convert_all() to floats, past the caches; false when a value is NaN or infinite.
template <class Half, class Convert>
bool StreamAll(const Half* in, float* out, std::size_t n, Convert convert) {
  const Floats floats;
  const Words words;
  const hn::Rebind<Half, Floats> halves;
  const std::size_t lanes = hn::Lanes(floats);
  const auto magnitude = hn::Set(words, 0x7FFFFFFFu);
  auto largest = hn::Zero(words);
  const auto look_at = [&](auto v) HWY_ATTR { largest = hn::Max(largest, hn::And(hn::BitCast(words, v), magnitude)); };
  // Streams go to whole vectors only.
  const std::size_t misaligned = reinterpret_cast<std::uintptr_t>(out) / sizeof(float) % lanes;
  const std::size_t head = std::min(n, misaligned == 0 ? 0 : lanes - misaligned);
  std::size_t i = 0;
  const auto one_by_one = [&](std::size_t end) HWY_ATTR {
    for (; i < end; ++i) {
      HWY_ALIGN Half padded[hn::MaxLanes(floats)] = {in[i]};
      const auto v = convert(hn::Load(halves, padded));
      look_at(v);
      out[i] = hn::GetLane(v);
    }
  };
  one_by_one(head);
  for (; i + lanes <= n; i += lanes) {
    const auto v = convert(hn::LoadU(halves, in + i));
    look_at(v);
    hn::Stream(v, floats, out + i);
  }
  one_by_one(n);
  hwy::FlushStream();
  return hn::AllTrue(words, hn::Lt(largest, hn::Set(words, 0x7F800000u)));
}

bool StreamFloat16(const void* source, float* out, std::size_t n) {
  return StreamAll(static_cast<const std::uint16_t*>(source), out, n,
                   [](auto v) HWY_ATTR { return float16_to_float32(v); });
}

bool StreamBfloat16(const void* source, float* out, std::size_t n) {
  return StreamAll(static_cast<const std::uint16_t*>(source), out, n,
                   [](auto v) HWY_ATTR { return bfloat16_to_float32(v); });
}

bool StreamFloat32(const void* source, float* out, std::size_t n) {
  return StreamAll(static_cast<const float*>(source), out, n, [](auto v) HWY_ATTR { return v; });
}

/// How many leading values are surely finite: a multiple of four vectors, or as far as whole groups go.
std::size_t FinitePrefix(const float* values, std::size_t n) {
  const Floats floats;
  const Words words;
  const std::size_t lanes = hn::Lanes(floats);
  // The largest finite magnitude has the largest bit pattern below infinity's; clearing the sign makes bits compare.
  const auto infinity = hn::Set(words, 0x7F800000u);
  const auto magnitude = hn::Set(words, 0x7FFFFFFFu);
  const auto bits_at = [&](std::size_t i)
                           HWY_ATTR { return hn::And(hn::BitCast(words, hn::LoadU(floats, values + i)), magnitude); };
  std::size_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    const auto low = hn::Max(bits_at(i), bits_at(i + lanes));
    const auto high = hn::Max(bits_at(i + 2 * lanes), bits_at(i + 3 * lanes));
    if (!hn::AllTrue(words, hn::Lt(hn::Max(low, high), infinity))) break;
  }
  return i;
}

}  // namespace kvreplay::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvreplay {

static_assert(std::endian::native == std::endian::little, "recorded tensors are little-endian and read as they lie");

HWY_EXPORT(PromoteFloat16);
HWY_EXPORT(PromoteBfloat16);
HWY_EXPORT(DemoteFloat16);
HWY_EXPORT(DemoteBfloat16);
HWY_EXPORT(StreamFloat16);
HWY_EXPORT(StreamBfloat16);
HWY_EXPORT(StreamFloat32);
HWY_EXPORT(FinitePrefix);

std::string_view name_of(DType dtype) {
  switch (dtype) {
    case DType::float16:
      return "float16";
    case DType::bfloat16:
      return "bfloat16";
    case DType::float32:
      return "float32";
  }
  return "unknown dtype";
}

void to_float32(std::span<const std::byte> source, DType dtype, std::span<float> out) {
  assert(source.size() == out.size() * size_of(dtype));
  if (out.empty()) return;
  switch (dtype) {
    case DType::float16:
      return HWY_DYNAMIC_DISPATCH(PromoteFloat16)(source.data(), out.data(), out.size());
    case DType::bfloat16:
      return HWY_DYNAMIC_DISPATCH(PromoteBfloat16)(source.data(), out.data(), out.size());
    case DType::float32:
      std::memcpy(out.data(), source.data(), source.size());
  }
}

bool stream_float32(std::span<const std::byte> source, DType dtype, std::span<float> out) {
  assert(source.size() == out.size() * size_of(dtype));
  if (out.empty()) return true;
  switch (dtype) {
    case DType::float16:
      return HWY_DYNAMIC_DISPATCH(StreamFloat16)(source.data(), out.data(), out.size());
    case DType::bfloat16:
      return HWY_DYNAMIC_DISPATCH(StreamBfloat16)(source.data(), out.data(), out.size());
    case DType::float32:
      break;
  }
  return HWY_DYNAMIC_DISPATCH(StreamFloat32)(source.data(), out.data(), out.size());
}

void from_float32(std::span<const float> source, DType dtype, std::span<std::byte> out) {
  assert(out.size() == source.size() * size_of(dtype));
  if (source.empty()) return;
  switch (dtype) {
    case DType::float16:
      return HWY_DYNAMIC_DISPATCH(DemoteFloat16)(source.data(), out.data(), source.size());
    case DType::bfloat16:
      return HWY_DYNAMIC_DISPATCH(DemoteBfloat16)(source.data(), out.data(), source.size());
    case DType::float32:
      std::memcpy(out.data(), source.data(), out.size());
  }
}

std::optional<std::size_t> first_non_finite(std::span<const float> values) {
  if (values.empty()) return std::nullopt;
  for (std::size_t i = HWY_DYNAMIC_DISPATCH(FinitePrefix)(values.data(), values.size()); i < values.size(); ++i)
    if (!std::isfinite(values[i])) return i;
  return std::nullopt;
}

}  // namespace kvreplay
#endif  // HWY_ONCE
