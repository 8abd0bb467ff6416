#pragma once
// SIMD kernels of the CPU backend. All matrices are panels: kPanelWidth queries side by side, one lane each, so that no
// kernel ever reduces across lanes. Compiled for several instruction sets; the best one is chosen at run time.

#include <cstddef>
#include <cstdint>

namespace kvreplay::cpu {

/// Longest run of float32 additions. Rounding would grow with the length of a context: terms that are equal all round
/// in the same direction, and n of them drift by up to n * 2^-25.
inline constexpr std::size_t kSumBlock = 512;

/// Logits to weights, in place: the softcap, the mask, the maximum of each lane, exp(logit - max).
/// \param logits        [n_keys, kPanelWidth]
/// \param first, last   [kPanelWidth] first and last visible key of each lane, as indices into the rows
/// \param max           [kPanelWidth] out
void logits_to_weights(float* logits, std::size_t n_keys, const std::int32_t* first, const std::int32_t* last,
                       float softcap, float* max);

/// out_values[d, lane] = sum of e_i v_i[d] and out_weights[lane] = sum of e_i over rows i = index[0..n) of both
/// arrays. The rank-1 updates walk the tokens through the index: nothing is gathered.
void sum_tokens(const float* weights, const float* values, std::size_t value_stride, std::size_t value_dim,
                const std::uint32_t* index, std::size_t n, float* out_values, float* out_weights);

/// out[i] = a[i] + b[i]; out may be a or b. \param n  a multiple of kPanelWidth
void add(const float* a, const float* b, std::size_t n, float* out);

/// errors = (Z_E / Z) (N_S / Z_S - N_E / Z_E) for one budget, with their squared norms and Z_S / Z.
/// \param values_s, values_e    [value_dim, kPanelWidth]
/// \param weights_s, weights_e  [kPanelWidth]
void error_of_eviction(const float* values_s, const float* weights_s, const float* values_e, const float* weights_e,
                       std::size_t value_dim, float* errors, float* squared_errors, float* recall);

/// Name of the instruction set in use, for provenance.
const char* instruction_set();

}  // namespace kvreplay::cpu
