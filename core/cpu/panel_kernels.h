#pragma once
// SIMD kernels of the CPU backend. All matrices are panels: kPanelWidth queries side by side, one lane each, so that no
// kernel ever reduces across lanes. Compiled for several instruction sets; the best one is chosen at run time.

#include <cstddef>
#include <cstdint>

namespace kvreplay::cpu {

/// Longest run of float32 additions. Rounding would grow with the length of a context: terms that are equal all round
/// in the same direction, and n of them drift by up to n * 2^-25.
inline constexpr std::size_t kSumBlock = 512;

/// Keys whose weights are made together: they stay in the first-level cache from the product to the exponential.
inline constexpr std::size_t kWeightTile = 64;

/// What is below counts as nothing: exp(-87.33), about the smallest normal number.
inline constexpr float kSmallestWeight = 1.18e-38f;

/// Floats of a row of add_columns(): one for each lane of the widest vector.
inline constexpr std::size_t kColumnLanes = 16;

/// Panels of queries against keys.
struct PanelProduct {
  const float* keys = nullptr;  ///< [n_keys, dim], rows `key_stride` apart
  std::size_t key_stride = 0, n_keys = 0, dim = 0;
  const float* queries = nullptr;  ///< [n_panels, dim, kPanelWidth]
  std::size_t n_panels = 0;
  float scale = 1, softcap = 0;
  const std::int32_t* first = nullptr;  ///< [n_panels, kPanelWidth] first and last key that each lane sees
  const std::int32_t* last = nullptr;
};

/// The softcap, the mask and exp(logit - top), top being the largest logit of the lane up to and in the tile.
/// \param weights  [n_keys, n_panels, kPanelWidth] out: 0 where masked
/// \param factors  [n_tiles, n_panels, kPanelWidth] out: exp(top - largest logit of the lane); weight times factor is
///                 exp(logit - largest)
/// \param sums     [n_tiles, n_panels, kPanelWidth] out: sums of the weights of a tile
void weigh_tiles(const PanelProduct& product, float* weights, float* factors, float* sums);

/// Multiplies each tile of `weights` [n_keys, width] by its row of `factors` [n_tiles, width].
void scale_tiles(const float* factors, std::size_t n_keys, std::size_t width, float* weights);

/// columns[i, :] += the weights of key i times its tile's factors, lane groups of a vector's width added up.
/// \param weights  [n_keys, width], width a multiple of kPanelWidth
/// \param factors  [n_tiles, width]
/// \param columns  [n_keys, kColumnLanes], for drain_columns()
void add_columns(const float* weights, const float* factors, std::size_t n_keys, std::size_t width, float* columns);

/// sums[i] += what add_columns() has added to row i since the last time; `columns` is all 0 then.
void drain_columns(float* columns, std::size_t n_keys, double* sums);

/// Panels of weights and the values that they weigh, row i of both for the same token.
struct TokenWalk {
  const float* weights = nullptr;  ///< [any, n_panels, kPanelWidth], rows `weight_stride` apart
  std::size_t weight_stride = 0, n_panels = 0;
  const float* values = nullptr;  ///< [any, value_dim], rows `value_stride` apart
  std::size_t value_stride = 0, value_dim = 0;
};

/// Where the sums of each panel go: values [value_dim, kPanelWidth] and weights [kPanelWidth].
struct PanelTarget {
  float* values = nullptr;
  std::size_t values_stride = 0;  ///< from panel to panel
  float* weights = nullptr;
  std::size_t weights_stride = 0;
};

/// sum of e_i v_i[d] and sum of e_i over rows i = index[0..n), for each panel. The rank-1 updates walk the tokens
/// through the index: nothing is gathered.
void sum_tokens(const TokenWalk& walk, const std::uint32_t* index, std::size_t n, const PanelTarget& out);

/// out[i] = a[i] + b[i]; out may be a or b.
/// \param n  a multiple of kPanelWidth
void add(const float* a, const float* b, std::size_t n, float* out);

/// errors = (Z_E / Z) (N_S / Z_S - N_E / Z_E) for one budget, with their squared norms and Z_S / Z.
/// \param values_s, values_e    [value_dim, kPanelWidth]
/// \param weights_s, weights_e  [kPanelWidth]
void errors_at_budget(const float* values_s, const float* weights_s, const float* values_e, const float* weights_e,
                      std::size_t value_dim, float* errors, float* squared_errors, float* recall);

/// Name of the instruction set in use. The tests of the kernels go through all that the machine has.
const char* instruction_set();

}  // namespace kvreplay::cpu
