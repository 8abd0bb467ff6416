#include "tests/reference/sensitivity.h"

#include <cmath>

namespace reference {

Matrix head_sketch_sums(const Layer& layer, const Sensitivity& sensitivity, std::size_t q_head,
                        std::size_t compression_point, const Positions& retained) {
  const Positions cache = retained_and_local(layer, retained, compression_point);
  const std::vector<std::size_t> rows = evaluation_rows(layer, compression_point);
  Matrix sums;
  for (const Matrix& sketch : sensitivity.gradient) {
    Vector& of_sketch = sums.emplace_back();
    for (std::size_t t = 0; t < rows.size(); ++t) {
      const Vector error = difference(output(layer, q_head, rows[t], cache), full_output(layer, q_head, rows[t]));
      double product = 0;
      for (std::size_t d = 0; d < error.size(); ++d) product += sketch[t][q_head * error.size() + d] * error[d];
      of_sketch.push_back(product);
    }
  }
  return sums;
}

Matrix sum(const std::vector<Matrix>& matrices) {
  Matrix total = matrices[0];
  for (std::size_t m = 1; m < matrices.size(); ++m)
    for (std::size_t r = 0; r < total.size(); ++r)
      for (std::size_t t = 0; t < total[r].size(); ++t) total[r][t] += matrices[m][r][t];
  return total;
}

PredictedKl predicted_kl(const Matrix& sums, const Sensitivity& sensitivity) {
  PredictedKl result;
  Vector of_sketch;
  double n_clean = 0;
  for (std::size_t r = 0; r < sums.size(); ++r) {
    double squares = 0;
    for (const double s : sums[r]) squares += s * s;
    of_sketch.push_back(squares / (2 * sensitivity.n_targets));
    result.kl += of_sketch[r] / static_cast<double>(sums.size());
    if (sensitivity.level[r] == 0) result.clean += of_sketch[r], n_clean += 1;
  }
  result.clean /= n_clean;
  double variance = 0;
  for (const double each : of_sketch)
    variance += (each - result.kl) * (each - result.kl) / (static_cast<double>(sums.size()) - 1);
  result.standard_error = std::sqrt(variance / static_cast<double>(sums.size()));
  return result;
}

double contribution(const Matrix& sums, const Matrix& part, double n_targets) {
  double total = 0;
  for (std::size_t r = 0; r < sums.size(); ++r)
    for (std::size_t t = 0; t < sums[r].size(); ++t) total += sums[r][t] * part[r][t];
  return total / (2 * n_targets * static_cast<double>(sums.size()));
}

}  // namespace reference
