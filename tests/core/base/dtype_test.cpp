#include "core/base/dtype.h"

#include <doctest/doctest.h>
#include <hwy/targets.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

using namespace kvreplay;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// A 16-bit float format, computed by arithmetic on its definition: no code shared with core/base/dtype.cpp.
struct Format {
  DType dtype;
  int exponent_bits, mantissa_bits;

  int bias() const { return (1 << (exponent_bits - 1)) - 1; }
  int max_exponent() const { return (1 << exponent_bits) - 1; }

  double value(std::uint16_t bits) const {
    const int mantissa = bits & ((1 << mantissa_bits) - 1);
    const int exponent = (bits >> mantissa_bits) & max_exponent();
    const double sign = (bits & 0x8000) ? -1 : 1;
    if (exponent == max_exponent()) return mantissa ? std::nan("") : sign * kInfinity;
    if (exponent == 0) return sign * std::ldexp(mantissa, 1 - bias() - mantissa_bits);
    return sign * std::ldexp((1 << mantissa_bits) + mantissa, exponent - bias() - mantissa_bits);
  }

  /// Nearest representable value, ties to the even mantissa; double arithmetic is exact here.
  double rounded(float x) const {
    if (!std::isfinite(x) || x == 0) return x;
    int exponent;
    std::frexp(x, &exponent);
    const int unit = std::max(exponent - 1, 1 - bias()) - mantissa_bits;  // exponent of a unit in the last place
    const double r = std::ldexp(std::nearbyint(std::ldexp(double{x}, -unit)), unit);
    const double largest = value(static_cast<std::uint16_t>((max_exponent() << mantissa_bits) - 1));
    return std::fabs(r) > largest ? std::copysign(double{kInfinity}, r) : r;
  }
};

constexpr Format kFormats[] = {{DType::float16, 5, 10}, {DType::bfloat16, 8, 7}};

std::vector<float> promote(const std::vector<std::uint16_t>& bits, DType dtype) {
  std::vector<float> out(bits.size());
  to_float32(std::as_bytes(std::span(bits)), dtype, out);
  return out;
}

std::vector<std::uint16_t> demote(const std::vector<float>& values, DType dtype) {
  std::vector<std::uint16_t> out(values.size());
  from_float32(values, dtype, std::as_writable_bytes(std::span(out)));
  return out;
}

bool same(double a, double b) {
  return (std::isnan(a) && std::isnan(b)) || (a == b && std::signbit(a) == std::signbit(b));
}

/// Runs `body` once with each instruction set that this machine has.
template <typename Body>
void on_every_target(Body body) {
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    CAPTURE(hwy::TargetName(target));
    body();
  }
  hwy::SetSupportedTargetsForTest(0);
}

}  // namespace

TEST_CASE("every 16-bit pattern becomes the float32 of the same value") {
  std::vector<std::uint16_t> patterns(65536);
  for (std::size_t i = 0; i < patterns.size(); ++i) patterns[i] = static_cast<std::uint16_t>(i);
  on_every_target([&] {
    for (const Format& format : kFormats) {
      const std::vector<float> floats = promote(patterns, format.dtype);
      std::size_t n_wrong = 0;
      for (std::size_t i = 0; i < patterns.size(); ++i) n_wrong += !same(floats[i], format.value(patterns[i]));
      CHECK_MESSAGE(n_wrong == 0, name_of(format.dtype));
    }
  });
}

TEST_CASE("every 16-bit pattern survives float32 and back, NaN stays NaN") {
  std::vector<std::uint16_t> patterns(65536);
  for (std::size_t i = 0; i < patterns.size(); ++i) patterns[i] = static_cast<std::uint16_t>(i);
  on_every_target([&] {
    for (const Format& format : kFormats) {
      const std::vector<std::uint16_t> back = demote(promote(patterns, format.dtype), format.dtype);
      std::size_t n_wrong = 0;
      for (std::size_t i = 0; i < patterns.size(); ++i)
        n_wrong += std::isnan(format.value(patterns[i])) ? !std::isnan(format.value(back[i])) : back[i] != patterns[i];
      CHECK_MESSAGE(n_wrong == 0, name_of(format.dtype));
    }
  });
}

TEST_CASE("float32 rounds to the nearest value, ties to even, overflow to infinity") {
  std::vector<float> values = {0.0f,       -0.0f,     1.0f,      65504.0f,  65519.99f, 65520.0f,   65536.0f, 1e30f,
                               3.3895e38f, 3.4e38f,   -65520.0f, 0x1p-14f,  0x1p-24f,  0x1p-25f,   0x1p-26f, 0x1.8p-25f,
                               0x1p-126f,  0x1p-133f, 0x1p-134f, 0x1p-149f, kInfinity, -kInfinity, NAN,      -NAN};
  std::mt19937 random(7);
  for (const Format& format : kFormats)  // around every pattern: its neighbours, the midpoint above it, and theirs
    for (std::uint32_t bits = 0; bits < 0x8000; bits += 1) {
      const float value = static_cast<float>(format.value(static_cast<std::uint16_t>(bits)));
      const float next = static_cast<float>(format.value(static_cast<std::uint16_t>(bits + 1)));
      if (!std::isfinite(value)) continue;
      const float middle = std::isfinite(next) ? value + (next - value) / 2 : value;
      for (const float x : {value, middle, -middle})
        for (const float y : {std::nextafter(x, -kInfinity), x, std::nextafter(x, kInfinity)}) values.push_back(y);
    }
  for (int i = 0; i < 500'000; ++i) values.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(random())));
  on_every_target([&] {
    for (const Format& format : kFormats) {
      const std::vector<std::uint16_t> bits = demote(values, format.dtype);
      std::size_t n_wrong = 0;
      float first_wrong = 0;
      for (std::size_t i = 0; i < values.size(); ++i)
        if (!same(format.value(bits[i]), format.rounded(values[i])) && n_wrong++ == 0) first_wrong = values[i];
      CHECK_MESSAGE(n_wrong == 0, name_of(format.dtype), ", first ", first_wrong);
    }
  });
}

TEST_CASE("conversion takes any length and any byte address, and writes no further") {
  on_every_target([] {
    for (const DType dtype : {DType::float16, DType::bfloat16, DType::float32})
      for (std::size_t n = 0; n < 70; ++n)
        for (std::size_t offset = 0; offset < 3; ++offset) {
          std::vector<float> values(n), back(n + 1, -1.0f);
          for (std::size_t i = 0; i < n; ++i) values[i] = static_cast<float>(i) - 8.0f;
          std::vector<std::byte> bytes(n * size_of(dtype) + offset + 1, std::byte{0x5A});
          from_float32(values, dtype, std::span(bytes).subspan(offset, n * size_of(dtype)));
          to_float32(std::span(bytes).subspan(offset, n * size_of(dtype)), dtype, std::span(back).first(n));
          REQUIRE(std::vector(back.begin(), back.end() - 1) == values);
          REQUIRE(back.back() == -1.0f);
          REQUIRE(bytes.back() == std::byte{0x5A});
          for (std::size_t i = 0; i < offset; ++i) REQUIRE(bytes[i] == std::byte{0x5A});
        }
  });
}

TEST_CASE("float32 bytes pass through unchanged, NaN payload included") {
  const std::vector<float> values = {1.5f, -0.0f, std::bit_cast<float>(0x7FA00001u)};
  std::vector<std::byte> bytes(12);
  from_float32(values, DType::float32, bytes);
  CHECK(std::memcmp(bytes.data(), values.data(), 12) == 0);
}

TEST_CASE("the first value that is not finite is found wherever it stands") {
  on_every_target([] {
    for (std::size_t n = 0; n < 150; ++n) {
      std::vector<float> values(n + 1, std::numeric_limits<float>::max());
      const std::span<const float> unaligned = std::span<const float>(values).subspan(1);
      CHECK_FALSE(first_non_finite(unaligned));
      for (std::size_t at = 0; at < n; ++at)
        for (const float bad : {kInfinity, -kInfinity, float(NAN), -float(NAN)}) {
          values[at + 1] = bad;
          if (at + 2 < values.size()) values[at + 2] = NAN;
          REQUIRE(first_non_finite(unaligned) == at);
          values[at + 1] = -std::numeric_limits<float>::max();
          if (at + 2 < values.size()) values[at + 2] = std::numeric_limits<float>::denorm_min();
        }
    }
  });
}

TEST_CASE("dtypes have the names that users write") {
  CHECK(name_of(DType::float16) == "float16");
  CHECK(name_of(DType::bfloat16) == "bfloat16");
  CHECK(name_of(DType::float32) == "float32");
}

TEST_CASE("streamed values are those of to_float32, from and to any place, and what is not finite is noticed") {
  constexpr std::size_t kHalves = 1 << 16;
  for (const DType dtype : {DType::float16, DType::bfloat16, DType::float32}) {
    CAPTURE(name_of(dtype));
    std::vector<std::byte> source(kHalves * size_of(dtype));
    for (std::size_t i = 0; i < kHalves; ++i) {
      const std::uint32_t bits = static_cast<std::uint32_t>(dtype == DType::float32 ? i << 16 : i);
      std::memcpy(&source[i * size_of(dtype)], &bits, size_of(dtype));
    }
    std::vector<float> expected(kHalves), found(kHalves + 40);
    on_every_target([&] {
      to_float32(source, dtype, expected);
      for (const std::size_t begin : {0, 1, 7, 16, 31000})
        for (const std::size_t n : {0, 1, 5, 16, 33, 800})
          for (const std::size_t to : {0, 1, 3, 16}) {
            const std::span<const std::byte> some(&source[begin * size_of(dtype)], n * size_of(dtype));
            const std::span<float> out(&found[to], n);
            found[to + n] = 77;
            const std::span<const float> wanted(&expected[begin], n);
            CHECK(stream_float32(some, dtype, out) == !first_non_finite(wanted));
            CHECK(std::memcmp(out.data(), wanted.data(), n * sizeof(float)) == 0);
            CHECK(found[to + n] == 77);
          }
      stream_float32(source, dtype, std::span(found).first(kHalves));
      CHECK(std::memcmp(found.data(), expected.data(), kHalves * sizeof(float)) == 0);
    });
  }
}
