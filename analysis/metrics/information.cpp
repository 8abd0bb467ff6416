#include "analysis/metrics/information.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/base/error.h"
#include "core/evidence/query_moments.h"
#include "core/evidence/value_norms.h"

namespace kvreplay {
namespace {

// Means of the queries of the heads [begin, end) and their second moment about 0 or about the mean.
QueryAnchor pooled_anchor(const QueryMoments& queries, std::size_t begin, std::size_t end, bool covariance) {
  const std::size_t dim = queries.mean.cols;
  const double share = 1 / static_cast<double>(end - begin);
  QueryAnchor anchor{Matrix64(1, dim), Matrix64(dim, dim)};
  for (std::size_t h = begin; h < end; ++h)
    for (std::size_t r = 0; r < dim; ++r) {
      anchor.mean(0, r) += share * queries.mean(h, r);
      for (std::size_t c = 0; c < dim; ++c)
        anchor.moment(r, c) += share * (queries.covariance[h](r, c) + queries.mean(h, r) * queries.mean(h, c));
    }
  if (covariance)
    for (std::size_t r = 0; r < dim; ++r)
      for (std::size_t c = 0; c < dim; ++c) anchor.moment(r, c) -= anchor.mean(0, r) * anchor.mean(0, c);
  return anchor;
}

double trace(const Matrix64& matrix) {
  double sum = 0;
  for (std::size_t d = 0; d < matrix.rows; ++d) sum += matrix(d, d);
  return sum;
}

// to = own to + factor from
void add_scaled(const double* from, double factor, double own, std::vector<double>& to) {
  if (factor == 1 && own == 1) {
    for (std::size_t i = 0; i < to.size(); ++i) to[i] += from[i];
    return;
  }
  for (std::size_t i = 0; i < to.size(); ++i) to[i] = own * to[i] + factor * from[i];
}

// P with P^T P = mean over the heads of W_O^h (W_O^h)^T: only P^T P matters to a log det.
Matrix64 pooled_projection(const PromptView& view, std::size_t begin, std::size_t end) {
  if (end - begin == 1) return projection_factor(view, begin);
  const std::size_t dim = view.model().value_dim;
  Matrix64 gram(dim, dim);
  for (std::size_t h = begin; h < end; ++h) {
    add_to_upper_gram(projection_factor(view, h).values, gram);
  }
  mirror_upper(gram);
  for (double& x : gram.values) x /= static_cast<double>(end - begin);
  return transposed(symmetric_root(gram));
}

}  // namespace

std::vector<ParameterSpec> information_parameters(const std::string& moment) {
  return {
      {.name = "anchor",
       .kind = ParameterKind::choice,
       .default_value = "evaluation",
       .help = "the queries: those that were asked after the compression point, or what the prompt's lead to expect",
       .choices = {"evaluation", "prompt"}},
      {.name = "moment",
       .kind = ParameterKind::choice,
       .default_value = moment,
       .help = "Lambda: second moment of the queries, about zero or about their mean",
       .choices = {"second", "covariance"}},
      {.name = "heads",
       .kind = ParameterKind::choice,
       .default_value = "pooled",
       .help = "a channel for the query heads of a KV head together, or the mean over a channel for each",
       .choices = {"pooled", "each"}},
      {.name = "vectors",
       .kind = ParameterKind::choice,
       .default_value = "value",
       .help = "what a token says: its value, or its value after W_O",
       .choices = {"value", "projected"}},
      {.name = "noise",
       .kind = ParameterKind::real_or_choice,
       .default_value = "1",
       .help = "variance of the channel, or the signal's own power in the full cache",
       .choices = {"signal"},
       .min = 1e-300},
      {.name = "sinks", .default_value = "4", .help = "first tokens whose queries anchor=prompt leaves out"},
      {.name = "future",
       .default_value = "512",
       .help = "positions after the compression point at which anchor=prompt expects queries",
       .min = 1}};
}

std::vector<Need> information_needs() {
  return {need::output_projection().when("vectors", "projected"), need::all_queries().when("anchor", "prompt"),
          need::evaluation_queries().when("anchor", "evaluation")};
}

namespace {

// Outer products of the cells of every policy, a few matrices, and the weights and channels of all heads. Float64
// operations count twice.
AddedCost cost_of(const UnitDimensions& unit, const Parameters& parameters, double flops_of_product,
                  double cubes_of_budget) {
  const double channels = static_cast<double>(parameters.choice("heads") == "each" ? unit.n_q_heads : unit.n_kv_heads);
  const double candidates = static_cast<double>(unit.n_candidates), dim = static_cast<double>(unit.value_dim);
  const double square = dim * static_cast<double>(std::max(unit.value_dim, unit.head_dim));
  const double policies = static_cast<double>(unit.n_policies), budgets = static_cast<double>(unit.n_budgets);
  return {
      .flops = 2 * policies * channels * square * (candidates * flops_of_product + budgets * dim * cubes_of_budget),
      .bytes = (channels * (candidates + 3 * square) + (2 * budgets + 8) * square + 2 * candidates) * sizeof(double)};
}

}  // namespace

AddedCost information_cost(const UnitDimensions& unit, const Parameters& parameters) {
  return cost_of(unit, parameters, 2, 10.0 / 3);  // a root, its square and a factorisation
}

AddedCost symmetric_information_cost(const UnitDimensions& unit, const Parameters& parameters) {
  return cost_of(unit, parameters, 1, 1.0 / 3);
}

std::vector<InformationChannel> information_channels(const PromptView& view, std::size_t kv_head,
                                                     const Parameters& parameters) {
  const std::size_t group = view.model().group_size(), begin = kv_head * group, end = begin + group;
  const bool covariance = parameters.choice("moment") == "covariance";
  const std::size_t sinks = std::min(parameters.count("sinks"), view.n_candidates() - 1);
  const QueryMoments& queries = parameters.choice("anchor") == "prompt"
                                    ? future_queries(view, sinks, parameters.count("future"))
                                    : evaluation_moments(view);
  const std::size_t heads_of_channel = parameters.choice("heads") == "each" ? 1 : group;
  std::vector<InformationChannel> channels;
  for (std::size_t h = begin; h < end; h += heads_of_channel) {
    InformationChannel& channel = channels.emplace_back();
    channel.anchor = pooled_anchor(queries, h, h + heads_of_channel, covariance);
    if (parameters.choice("vectors") == "projected")
      channel.projection = pooled_projection(view, h, h + heads_of_channel);
  }
  return channels;
}

Matrix64 projected(const InformationChannel& channel, Matrix64 matrix) {
  return channel.projection.values.empty() ? std::move(matrix) : product(channel.projection, matrix);
}

Matrix64 projected_gram(const InformationChannel& channel, Matrix64 gram) {
  if (channel.projection.values.empty()) return gram;
  return product(product(channel.projection, gram), transposed(channel.projection));
}

double noise_variance(const Parameters& parameters, const Matrix64& full_signal, std::size_t n) {
  if (!parameters.is_word("noise", "signal")) return parameters.real("noise");
  const double power = trace(full_signal) / static_cast<double>(n);
  return power > 0 ? power : 1;  // without a signal there is no information, whatever the noise
}

const InformationMetric::Sums InformationMetric::kNothing{
    .products = {}, .left = {}, .right = {}, .weight = 0, .log_scale = -std::numeric_limits<double>::infinity()};

InformationMetric::InformationMetric(const UnitShape& shape, const Parameters& parameters)
    : shape_(shape), parameters_(parameters) {
  const std::size_t n_heads = shape.layer->model.n_kv_heads;
  sums_.numerator.assign(n_heads * shape.n_policies * shape.n_budgets, 0.0);
  sums_.denominator.assign(n_heads, 0.0);
}

void InformationMetric::start() {
  const std::size_t n = shape_.candidates.size();
  if (n == 0 || shape_.n_queries == 0) return;
  std::vector<std::uint32_t> all(n);
  std::iota(all.begin(), all.end(), 0u);
  const std::size_t end[] = {n};
  for (std::size_t g = 0; g < shape_.layer->model.n_kv_heads; ++g) {
    std::vector<Terms>& channels = heads_.emplace_back();
    for (InformationChannel& channel : information_channels(view(), g, parameters_))
      channels.push_back(prepare(g, std::move(channel)));
    for (Terms& terms : channels) {
      const Matrix64& projection = terms.channel.projection;
      terms.n_directions = projection.values.empty() ? terms.left.cols : projection.rows;
      Sums full = kNothing;
      cells_.with([&](Cells& cells) {
        sum_cells(terms, all, end, cells);
        add_cell(terms, cells, 0, full);
      });
      Matrix64 signal(terms.n_directions, terms.n_directions);
      add_signal(terms, full, 1, signal);
      terms.noise = noise_variance(parameters_, signal, terms.left.cols * terms.n_signals);
      std::vector<Determinant> of_all;
      of_all.push_back(determinant(terms, full));
      terms.full = nats(terms, std::move(of_all)).front();
      sums_.denominator[g] += terms.full / static_cast<double>(channels.size());
    }
  }
}

std::optional<Matrix64> InformationMetric::signal_root(const Terms&, const Sums&) const { return std::nullopt; }

void InformationMetric::add_signal(const Terms& terms, const Sums& sums, double factor, Matrix64& matrix) const {
  add_to_upper_gram_of_columns(signal_root(terms, sums).value(), factor, matrix);
}

InformationMetric::Determinant InformationMetric::determinant(const Terms& terms, const Sums& sums) const {
  // Beside a trace of 10^11 an eigenvalue near 1 is good to 10^-5. From the root it is good to float64 up to 10^30, but
  // that takes three times as long.
  constexpr double kMostPower = 1e11;
  const std::optional<Matrix64> root = signal_root(terms, sums);
  Matrix64 matrix(terms.n_directions, terms.n_directions);
  for (std::size_t d = 0; d < matrix.rows; ++d) matrix(d, d) = 1;
  if (root)
    add_to_upper_gram_of_columns(*root, 1 / terms.noise, matrix);
  else
    add_signal(terms, sums, 1 / terms.noise, matrix);
  const double power = trace(matrix) - static_cast<double>(matrix.rows);
  if (root && power > kMostPower) return {half_log_det_of_root(*root, 1 / terms.noise), {}, power};
  return {std::nullopt, std::move(matrix), power};
}

std::vector<double> InformationMetric::nats(const Terms& terms, std::vector<Determinant> determinants) const {
  std::vector<Matrix64> matrices;
  for (Determinant& determinant : determinants)
    if (!determinant.value) matrices.push_back(std::move(determinant.matrix));
  const std::vector<std::optional<double>> found = view().backend().half_log_dets(std::move(matrices));
  std::vector<double> result;
  std::size_t at = 0;
  for (const Determinant& determinant : determinants) {
    const std::optional<double> value = determinant.value ? determinant.value : found[at++];
    if (!value || !std::isfinite(*value))
      throw InputError(fmt::format(
          "I + X / {:.4g} is not positive definite in float64: the trace of X / noise is {:.4g}, and X spans "
          "too many orders of magnitude; a larger noise, or other weights, would do",
          terms.noise, determinant.power));
    result.push_back(*value);
  }
  return result;
}

void InformationMetric::sum_cells(const Terms& terms, std::span<const std::uint32_t> rows,
                                  std::span<const std::size_t> cell_ends, Cells& cells) const {
  cells.log_scales.assign(cell_ends.size(), 0.0);
  if (terms.logarithmic) {
    cells.exponentials.resize(terms.weights.size());
    for (std::size_t c = 0, begin = 0; c < cell_ends.size(); begin = cell_ends[c++]) {
      const auto cell = rows.subspan(begin, cell_ends[c] - begin);
      double largest = -std::numeric_limits<double>::infinity();
      for (const std::uint32_t i : cell) largest = std::max(largest, terms.weights[i]);
      for (const std::uint32_t i : cell) cells.exponentials[i] = std::exp(terms.weights[i] - largest);
      cells.log_scales[c] = largest;
    }
  }
  view().backend().sum_outer_products(terms.left, terms.right, terms.logarithmic ? cells.exponentials : terms.weights,
                                      rows, cell_ends, terms.with_sides, cells.sums);
}

void InformationMetric::add_cell(const Terms& terms, const Cells& cells, std::size_t cell, Sums& set) const {
  const std::size_t p = terms.left.cols, q = terms.right.cols;
  if (set.products.values.empty()) set.products = Matrix64(p, q);
  if (terms.with_sides && set.left.empty()) {
    set.left.assign(p, 0.0);
    set.right.assign(q, 0.0);
  }
  // Both on the larger of the two scales.
  const double scale = std::max(cells.log_scales[cell], set.log_scale);
  const double factor = std::exp(cells.log_scales[cell] - scale), own = std::exp(set.log_scale - scale);
  add_scaled(cells.sums.products.data() + cell * p * q, factor, own, set.products.values);
  if (terms.with_sides) {
    add_scaled(cells.sums.left.data() + cell * p, factor, own, set.left);
    add_scaled(cells.sums.right.data() + cell * q, factor, own, set.right);
  }
  set.weight = own * set.weight + factor * cells.sums.weights[cell];
  set.log_scale = scale;
}

std::vector<double> InformationMetric::nats_by_budget(const Terms& terms, const HeadRetention& head,
                                                      Cells& cells) const {
  const CellPlan& plan = head.cells();
  const std::size_t t = shape_.candidates.end;
  std::vector<std::size_t> n_retained;
  for (std::size_t b = 0; b < plan.n_budgets(); ++b) n_retained.push_back(head.count(b, t));
  sum_cells(terms, plan.order, plan.cell_ends, cells);
  // All budgets are factorised together. Budgets that hold the same cells share a determinant; 0 nats where nothing is
  // retained.
  constexpr std::size_t kNone = static_cast<std::size_t>(-1);
  std::vector<std::size_t> of_budget(plan.n_budgets(), kNone);
  std::vector<Determinant> determinants;
  if (!head.nested()) {
    for (std::size_t b = 0; b < plan.n_budgets(); ++b) {
      if (n_retained[b] == 0) continue;
      Sums set = kNothing;
      for (std::size_t c = 0; c < plan.n_cells(); ++c)
        if (head.holds_cell(c, b, t)) add_cell(terms, cells, c, set);
      of_budget[b] = determinants.size();
      determinants.push_back(determinant(terms, set));
    }
  } else {
    Sums set = kNothing;
    for (std::size_t c = 0; c < plan.n_cells(); ++c) {
      add_cell(terms, cells, c, set);
      bool wanted = false;  // some budget holds just the first c + 1 cells
      for (std::size_t b = 0; b < plan.n_budgets(); ++b) {
        if (n_retained[b] != plan.cell_ends[c]) continue;
        of_budget[b] = determinants.size();
        wanted = true;
      }
      if (wanted) determinants.push_back(determinant(terms, set));
    }
  }
  const std::vector<double> found = nats(terms, std::move(determinants));
  std::vector<double> result(plan.n_budgets(), 0.0);
  for (std::size_t b = 0; b < plan.n_budgets(); ++b)
    if (of_budget[b] != kNone) result[b] = found[of_budget[b]];
  return result;
}

void InformationMetric::add_retention(std::size_t policy, const Retention& retention) {
  if (heads_.empty()) return;
  retention.for_each_set(shape_.layer->model, [&](std::size_t g, const HeadRetention& head, double part) {
    for (const Terms& terms : heads_[g]) {
      std::vector<double> nats(shape_.n_budgets, terms.full);
      if (retention.evicts()) cells_.with([&](Cells& cells) { nats = nats_by_budget(terms, head, cells); });
      for (std::size_t b = 0; b < shape_.n_budgets; ++b)
        sums_.numerator[(g * shape_.n_policies + policy) * shape_.n_budgets + b] +=
            part * nats[b] / static_cast<double>(heads_[g].size());
    }
  });
}

MetricSums InformationMetric::finish() { return std::move(sums_); }

}  // namespace kvreplay
