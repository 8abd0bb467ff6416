#pragma once
// Inner products of panels: every lane with its own vectors on both sides.

#include <cstddef>

namespace kvreplay {

/// out[j, i, l] = sum over d of a[d, i, l] * b[j, d, l] for each of the kPanelWidth lanes l, in float32.
/// \param a    [dim, n_a, kPanelWidth]
/// \param b    [n_b, dim, kPanelWidth]
/// \param out  [n_b, n_a, kPanelWidth]; `a` and `out` are aligned to 64 bytes
void lane_products(const float* a, std::size_t n_a, const float* b, std::size_t n_b, std::size_t dim, float* out);

}  // namespace kvreplay
