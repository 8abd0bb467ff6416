#pragma once
// Predictions of the model's loss from sensitivities, in plain float64 loops. Shares no code with the program.

#include "tests/reference/reference.h"

namespace reference {

/// Gradients of one layer for one compression point.
struct Sensitivity {
  std::vector<Matrix> gradient;  ///< [n_sketches][n_queries][n_q_heads * value_dim]
  Vector level;                  ///< [n_sketches]
  double n_targets = 1;
};

/// <gradient, o' - o> of one query head, [n_sketches][n_queries].
Matrix head_sketch_sums(const Layer& layer, const Sensitivity& sensitivity, std::size_t q_head,
                        std::size_t compression_point, const Positions& retained);
Matrix sum(const std::vector<Matrix>& matrices);

struct PredictedKl {
  double kl = 0, standard_error = 0;
  double clean = 0;  ///< from the sketches at level 0
};
/// \param sums  s[r][t] over all layers and heads
PredictedKl predicted_kl(const Matrix& sums, const Sensitivity& sensitivity);
/// 1 / (2 m R) sum of s[r][t] part[r][t]
double contribution(const Matrix& sums, const Matrix& part, double n_targets);

}  // namespace reference
