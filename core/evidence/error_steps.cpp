#include "core/evidence/error_steps.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/base/blas.h"
#include "core/base/error.h"
#include "core/base/row_norms.h"

namespace kvreplay {
namespace {

constexpr std::size_t kTileRows = 128;
// The share of a query's mass from which on a candidate stands apart. float32 has the squared distance of its value to
// the output to 1e-7, and what its removal costs to 1e-7 / (1 - share)^2.
constexpr double kNearlyAll = 1 - 0x1p-7;
// Removing a token magnifies the rounding of what is left; below this part of it the rest is summed up again.
constexpr double kSumAgainBelow = 0x1p-10;

double dot(std::span<const double> a, std::span<const double> b) {
  double sum = 0;
  for (std::size_t d = 0; d < a.size(); ++d) sum += a[d] * b[d];
  return sum;
}

std::vector<double> mean_row(ConstMatrixView rows) {
  std::vector<double> mean(rows.cols, 0.0);
  for (std::size_t r = 0; r < rows.rows; ++r)
    for (std::size_t d = 0; d < rows.cols; ++d) mean[d] += double{rows(r, d)} / static_cast<double>(rows.rows);
  return mean;
}

void subtract(std::span<const double> point, Matrix64& rows) {
  for (std::size_t r = 0; r < rows.rows; ++r)
    for (std::size_t d = 0; d < rows.cols; ++d) rows(r, d) -= point[d];
}

// What the changes of all tokens need of the queries, in float32.
struct LaneTerms {
  Tensor difference;             // [1, n_lanes, value_dim] rho = o' - o
  std::vector<float> mass;       // of the set
  std::vector<float> at_output;  // rho . o'
  std::vector<float> offset;     // ||v - o'||^2 = ||v - o||^2 - 2 rho . v + offset
};

// Adds up each token's change over the queries: float32 in a lane, float64 over the lanes.
double sum_changes(const LaneTerms& lanes, float sign, std::size_t n_lanes, const float* weight, const float* distance,
                   const float* product) {
  float sums[kPanelWidth] = {};
  for (std::size_t panel = 0; panel < n_lanes; panel += kPanelWidth)
    for (std::size_t l = 0; l < kPanelWidth; ++l) {
      const std::size_t t = panel + l;
      const float step = sign * weight[t];
      const float x = step / (lanes.mass[t] + step);
      sums[l] += x * (2 * (product[t] - lanes.at_output[t]) + x * (distance[t] - 2 * product[t] + lanes.offset[t]));
    }
  return std::accumulate(sums, sums + kPanelWidth, 0.0);
}

}  // namespace

ErrorSteps::ErrorSteps(EvaluationWeights weights, ConstMatrixView values, Direction direction)
    : direction_(direction),
      tokens_(values.rows),
      rows_(values.rows),
      attention_(std::move(weights.attention)),
      distances_(1, values.rows, weights.n_lanes()),
      values_(1, values.rows, values.cols),
      outputs_(std::move(weights.outputs)),
      local_outputs_(std::move(weights.local_outputs)),
      local_mass_(std::move(weights.local_mass)),
      lanes_(outputs_.rows) {
  std::iota(tokens_.begin(), tokens_.end(), 0u);
  std::iota(rows_.begin(), rows_.end(), std::size_t{0});
  // Differences of values and outputs are all that counts: less their common part they lose fewer bits.
  const std::vector<double> common = mean_row(values);
  subtract(common, outputs_);
  subtract(common, local_outputs_);
  for (std::size_t i = 0; i < values.rows; ++i)
    for (std::size_t d = 0; d < values.cols; ++d)
      values_.matrix(0)(i, d) = static_cast<float>(double{values(i, d)} - common[d]);
  double checksum = 0;
  std::vector<float> distances(values.rows);
  for (std::size_t t = 0; t < lanes_.size(); ++t) {
    const std::vector<float> output(outputs_.row(t).begin(), outputs_.row(t).end());
    row_distances(values_.matrix(0), output, distances);
    for (std::size_t i = 0; i < values.rows; ++i) {
      distances_.matrix(0)(i, t) = distances[i] * distances[i];
      checksum += double{distances[i]};
    }
  }
  for (std::size_t t = 0; t < lanes_.size(); ++t) {
    Output& all = lanes_[t].all;
    all.mass = local_mass_[t];
    all.difference.assign(values.cols, 0.0);
    if (direction == Direction::adding) {
      for (std::size_t d = 0; d < values.cols; ++d) all.difference[d] = local_outputs_(t, d) - outputs_(t, d);
    } else {
      for (std::size_t i = 0; i < values.rows; ++i) all.mass += attention_.matrix(0)(i, t);
    }
    all.summed_at = all.mass;
    checksum += dot(all.difference, all.difference) + all.mass;
  }
  if (!std::isfinite(checksum)) throw UnfitError("queries, keys or values are not finite");
  for (std::size_t t = 0; t < lanes_.size(); ++t) {
    find_heaviest(t);
    set_apart(t);
  }
}

// With x = +-e / (Z +- e), e a token's weight and Z the set's mass, the step turns rho = o' - o into
// (1 - x) rho + x (v - o) = rho + x (v - o'), so that ||rho||^2 changes by 2 x rho . (v - o') + x^2 ||v - o'||^2.
std::vector<double> ErrorSteps::changes() const {
  const std::size_t n_lanes = lanes_.size(), n = tokens_.size(), dim = values_.cols();
  std::vector<double> result(n, 0.0);
  if (n_lanes == 0) return result;
  LaneTerms terms{.difference = Tensor(1, n_lanes, dim), .mass = {}, .at_output = {}, .offset = {}};
  for (std::size_t t = 0; t < n_lanes; ++t) {
    const Output& all = lanes_[t].all;
    for (std::size_t d = 0; d < dim; ++d) terms.difference.matrix(0)(t, d) = static_cast<float>(all.difference[d]);
    const double squared = dot(all.difference, all.difference), along = dot(all.difference, outputs_.row(t));
    terms.mass.push_back(static_cast<float>(all.mass));
    terms.at_output.push_back(static_cast<float>(along + squared));
    terms.offset.push_back(static_cast<float>(2 * along + squared));
  }
  const float sign = direction_ == Direction::adding ? 1.0f : -1.0f;
  Buffer<float> products(kTileRows * n_lanes);
  for (std::size_t begin = 0; begin < n; begin += kTileRows) {
    const std::size_t rows = std::min(kTileRows, n - begin);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, static_cast<blasint>(rows), static_cast<blasint>(n_lanes),
                static_cast<blasint>(dim), 1.0f, values_.matrix(0).row(begin).data(), static_cast<blasint>(dim),
                terms.difference.matrix(0).data, static_cast<blasint>(dim), 0.0f, products.data(),
                static_cast<blasint>(n_lanes));
    for (std::size_t r = 0; r < rows; ++r)
      result[begin + r] = sum_changes(terms, sign, n_lanes, attention_.matrix(0).row(begin + r).data(),
                                      distances_.matrix(0).row(begin + r).data(), products.data() + r * n_lanes);
  }
  for (const Lane& lane : lanes_)
    if (lane.apart)
      result[rows_[lane.heaviest]] +=
          dot(lane.others.difference, lane.others.difference) - dot(lane.all.difference, lane.all.difference);
  return result;
}

std::vector<std::uint32_t> ErrorSteps::take_best(std::size_t count) {
  const std::vector<double> change = changes();
  std::vector<std::uint32_t> taken(std::min(count, tokens_.size()));
  std::ranges::partial_sort_copy(tokens_, taken, [&](std::uint32_t a, std::uint32_t b) {
    if (change[rows_[a]] != change[rows_[b]]) return change[rows_[a]] < change[rows_[b]];
    return direction_ == Direction::adding ? a < b : a > b;
  });
  for (const std::uint32_t token : taken) change_outputs(token);
  for (const std::uint32_t token : taken) erase(token);
  for (std::size_t t = 0; t < lanes_.size(); ++t) refresh(t);
  return taken;
}

void ErrorSteps::change_outputs(std::uint32_t token) {
  const double sign = direction_ == Direction::adding ? 1 : -1;
  const auto value = values_.matrix(0).row(rows_[token]);
  const auto attention = attention_.matrix(0).row(rows_[token]);
  for (std::size_t t = 0; t < lanes_.size(); ++t) {
    Lane& lane = lanes_[t];
    if (lane.apart && lane.heaviest == token) {
      lane.all = std::move(lane.others);
      lane.apart = false;
    } else if (attention[t] > 0) {
      change(lane.all, sign * attention[t], t, value);
      if (lane.apart) change(lane.others, sign * attention[t], t, value);
    }
  }
}

void ErrorSteps::change(Output& output, double weight, std::size_t lane, std::span<const float> value) const {
  output.mass += weight;
  output.stale = output.stale || output.mass < kSumAgainBelow * output.summed_at;
  if (output.stale) return;
  const double x = weight / output.mass;
  for (std::size_t d = 0; d < value.size(); ++d)
    output.difference[d] += x * (double{value[d]} - outputs_(lane, d) - output.difference[d]);
}

// The last row takes the place of the one that goes.
void ErrorSteps::erase(std::uint32_t token) {
  const std::size_t row = rows_[token], last = tokens_.size() - 1;
  if (row != last)
    for (Tensor* tensor : {&attention_, &distances_, &values_})
      std::ranges::copy(tensor->matrix(0).row(last), tensor->matrix(0).row(row).begin());
  tokens_[row] = tokens_[last];
  rows_[tokens_[row]] = row;
  tokens_.pop_back();
}

void ErrorSteps::find_heaviest(std::size_t lane) {
  Lane& each = lanes_[lane];
  each.weight = 0;
  for (std::size_t row = 0; row < tokens_.size(); ++row)
    if (const double weight = attention_.matrix(0)(row, lane); weight > each.weight) {
      each.weight = weight;
      each.heaviest = tokens_[row];
    }
}

void ErrorSteps::set_apart(std::size_t lane) {
  Lane& each = lanes_[lane];
  if (direction_ == Direction::adding || each.apart || each.weight <= kNearlyAll * each.all.mass) return;
  each.apart = true;
  attention_.matrix(0)(rows_[each.heaviest], lane) = 0;
  each.others = summed_up(lane);
}

// Of the local tokens and of all rows, but for the token that stands apart.
ErrorSteps::Output ErrorSteps::summed_up(std::size_t lane) const {
  Output sum{.mass = local_mass_[lane], .difference = std::vector<double>(values_.cols())};
  for (std::size_t d = 0; d < sum.difference.size(); ++d) sum.difference[d] = sum.mass * local_outputs_(lane, d);
  for (std::size_t row = 0; row < tokens_.size(); ++row) {
    const double weight = attention_.matrix(0)(row, lane);
    if (weight == 0) continue;
    sum.mass += weight;
    const auto value = values_.matrix(0).row(row);
    for (std::size_t d = 0; d < sum.difference.size(); ++d) sum.difference[d] += weight * double{value[d]};
  }
  for (std::size_t d = 0; d < sum.difference.size(); ++d)
    sum.difference[d] = sum.difference[d] / sum.mass - outputs_(lane, d);
  sum.summed_at = sum.mass;
  return sum;
}

void ErrorSteps::refresh(std::size_t lane) {
  Lane& each = lanes_[lane];
  if (direction_ == Direction::adding) return;
  if (each.apart) {
    if (each.others.stale) each.others = summed_up(lane);
    return;  // the sums of all are those of the token apart, near enough: they never go stale
  }
  if (each.all.stale) each.all = summed_up(lane);
  const bool gone = rows_[each.heaviest] >= tokens_.size() || tokens_[rows_[each.heaviest]] != each.heaviest;
  if (gone) find_heaviest(lane);
  set_apart(lane);
}

}  // namespace kvreplay
