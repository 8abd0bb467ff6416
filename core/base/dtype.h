#pragma once
// The number formats of recorded tensors, and their conversion to and from float32.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace kvreplay {

enum class DType { float16, bfloat16, float32 };

std::string_view name_of(DType dtype);
constexpr std::size_t size_of(DType dtype) { return dtype == DType::float32 ? 4 : 2; }

/// Converts little-endian elements to float32, exactly.
/// \param source  bytes, out.size() elements of `dtype`
void to_float32(std::span<const std::byte> source, DType dtype, std::span<float> out);

/// Like to_float32(), for much more than the caches hold: writes past them, so that memory is written and not also
/// read.
/// \return  whether every value is finite
/// \param source  bytes, out.size() elements of `dtype`, aligned for them
bool stream_float32(std::span<const std::byte> source, DType dtype, std::span<float> out);

/// Converts float32 to `dtype`, rounding to nearest even; what overflows becomes infinity.
/// \param out  bytes, source.size() elements of `dtype`
void from_float32(std::span<const float> source, DType dtype, std::span<std::byte> out);

/// Index of the first NaN or infinity, if there is one.
std::optional<std::size_t> first_non_finite(std::span<const float> values);

}  // namespace kvreplay
