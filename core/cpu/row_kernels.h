#pragma once
// SIMD kernels over rows: the keys that one query sees, side by side.

#include <cstddef>

namespace kvreplay::cpu {

/// Logits to exp(logit - max), in place; the softcap before it where it is above 0. What is below the smallest normal
/// number becomes 0. Returns their sum, added up in blocks of kSumBlock.
/// \param n  at least 1
double exponentials(float* logits, std::size_t n, float softcap);

/// out[i] += scale * row[i]
void add_scaled(const float* row, std::size_t n, float scale, float* out);

/// row[i] *= scale
void scale(float* row, std::size_t n, float scale);

/// out[i] = scale * row[i] in float64
void scale_to_double(const float* row, std::size_t n, double scale, double* out);

}  // namespace kvreplay::cpu
