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

Vector position_weights(const Matrix& sums, const Sensitivity& sensitivity) {
  Vector weights;
  for (std::size_t t = 0; t < sums[0].size(); ++t) {
    if (!sensitivity.position_kl.empty()) {
      double kl = static_cast<double>(sensitivity.position_kl.size()) / 12, form = kl;
      for (std::size_t d = 0; d < sensitivity.position_kl.size(); ++d) {
        kl += sensitivity.position_kl[d][t];
        form += sensitivity.position_quadratic[d][t];
      }
      weights.push_back(sensitivity.is_target[t] != 0 ? kl / form : 1);
      continue;
    }
    double form = 0;
    for (const Vector& of_sketch : sums) form += of_sketch[t] * of_sketch[t] / (2 * static_cast<double>(sums.size()));
    const double root = std::sqrt(2 * form);
    weights.push_back(form > 0 ? (root + std::log((1 + std::exp(-2 * root)) / 2)) / form : 1);
  }
  return weights;
}

namespace {

// Root mean square over passes of the log of what the others' ratios say of a pass over what it lost.
double relative_error(const Sensitivity& sensitivity) {
  if (sensitivity.position_kl.empty()) return 0.4;
  const std::size_t n = sensitivity.position_kl.size();
  double squares = 0;
  for (std::size_t left = 0; left < n; ++left) {
    double lost = 0, said = 0;
    for (std::size_t t = 0; t < sensitivity.is_target.size(); ++t) {
      double kl = static_cast<double>(n - 1) / 12, form = kl;
      for (std::size_t d = 0; d < n; ++d)
        if (d != left) kl += sensitivity.position_kl[d][t], form += sensitivity.position_quadratic[d][t];
      const bool target = sensitivity.is_target[t] != 0;
      said += sensitivity.position_quadratic[left][t] * (target ? kl / form : 1);
      lost += target ? sensitivity.position_kl[left][t] : 0;
    }
    squares += std::pow(std::log(said) - std::log(lost), 2) / static_cast<double>(n);
  }
  return std::sqrt(squares);
}

}  // namespace

PredictedKl predicted_kl(const Matrix& sums, const Sensitivity& sensitivity) {
  PredictedKl result;
  Vector of_sketch;
  const Vector weights = position_weights(sums, sensitivity);
  double n_clean = 0;
  for (std::size_t r = 0; r < sums.size(); ++r) {
    double squares = 0, plain = 0;
    for (std::size_t t = 0; t < sums[r].size(); ++t) {
      squares += weights[t] * sums[r][t] * sums[r][t];
      plain += sums[r][t] * sums[r][t];
    }
    of_sketch.push_back(squares / (2 * sensitivity.n_targets));
    result.kl += of_sketch[r] / static_cast<double>(sums.size());
    if (sensitivity.level[r] == 0) result.clean += plain / (2 * sensitivity.n_targets), n_clean += 1;
  }
  result.clean /= n_clean;
  double variance = 0;
  for (const double each : of_sketch)
    variance += (each - result.kl) * (each - result.kl) / (static_cast<double>(sums.size()) - 1);
  const double beside = relative_error(sensitivity) * result.kl;
  result.standard_error = std::sqrt(variance / static_cast<double>(sums.size()) + beside * beside);
  return result;
}

double contribution(const Matrix& sums, const Matrix& part, const Sensitivity& sensitivity) {
  const Vector weights = position_weights(sums, sensitivity);
  double total = 0;
  for (std::size_t r = 0; r < sums.size(); ++r)
    for (std::size_t t = 0; t < sums[r].size(); ++t) total += weights[t] * sums[r][t] * part[r][t];
  return total / (2 * sensitivity.n_targets * static_cast<double>(sums.size()));
}

}  // namespace reference
