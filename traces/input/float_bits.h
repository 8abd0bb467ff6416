#pragma once
// The bits of recorded numbers, in HDF5's words: from the lowest on mantissa, exponent, sign.

#include "core/base/dtype.h"

namespace kvreplay::hdf5 {

struct FloatBits {
  std::size_t size;  ///< bytes
  std::size_t exponent_size, mantissa_size, bias;

  constexpr std::size_t sign() const { return 8 * size - 1; }
  constexpr std::size_t exponent() const { return mantissa_size; }
};

constexpr FloatBits bits_of(DType dtype) {
  switch (dtype) {
    case DType::float16:
      return {.size = 2, .exponent_size = 5, .mantissa_size = 10, .bias = 15};
    case DType::bfloat16:
      return {.size = 2, .exponent_size = 8, .mantissa_size = 7, .bias = 127};
    case DType::float32:
      break;
  }
  return {.size = 4, .exponent_size = 8, .mantissa_size = 23, .bias = 127};
}

}  // namespace kvreplay::hdf5
