#pragma once
// Information that a retained cache can carry about queries to come, in nats: 1/2 log det(I + X / sigma^2), with a
// signal matrix X that is made of sums over the retained tokens. What the metrics of this kind share: the channel
// (queries, output directions, noise) and the walk over cells. One float64 factorisation for each budget.

#include <optional>
#include <string>
#include <vector>

#include "core/base/scratch_pool.h"
#include "core/contracts/metric.h"
#include "core/engine/backend.h"
#include "core/evidence/capacity_weights.h"
#include "core/evidence/prompt_view.h"

namespace kvreplay {

/// Who asks, and how outputs count: the query heads of a KV head together (heads=pooled) or one of them (heads=each).
struct InformationChannel {
  QueryAnchor anchor;   ///< mu and Lambda of the queries
  Matrix64 projection;  ///< P with u = P v; empty: u = v
};

/// The parameters of every metric of this kind: anchor, moment, heads, vectors, noise, sinks, future.
/// \param moment  the default of `moment`
std::vector<ParameterSpec> information_parameters(const std::string& moment);
std::vector<Need> information_needs();
AddedCost information_cost(const UnitDimensions& unit, const Parameters& parameters);
/// ... where the two sides of the outer products are the same, and their sum is the signal.
AddedCost symmetric_information_cost(const UnitDimensions& unit, const Parameters& parameters);

/// The channels of a KV head: one, or one for each of its query heads.
/// Throws InputError when the trace lacks the prompt queries (anchor=prompt) or W_O (vectors=projected).
std::vector<InformationChannel> information_channels(const PromptView& view, std::size_t kv_head,
                                                     const Parameters& parameters);

/// P G P^T for a channel; G itself where u = v.
Matrix64 projected_gram(const InformationChannel& channel, Matrix64 gram);
/// P M for a channel; M itself where u = v.
Matrix64 projected(const InformationChannel& channel, Matrix64 matrix);

/// sigma^2: the number given, or with noise=signal the mean power tr(X) / n of the signal X of the full cache.
double noise_variance(const Parameters& parameters, const Matrix64& full_signal, std::size_t n);

/// A metric 1/2 log det(I + X / sigma^2): numerator in nats of a retained set, denominator of all candidates; the mean
/// over channels for heads=each. Local tokens, which no policy can evict, are left out of both.
class InformationMetric : public MetricAccumulator {
 public:
  void add_retention(std::size_t policy, const Retention& retention) final;
  MetricSums finish() final;

 protected:
  /// Sums over a set of tokens, of w_i a_i b_i^T and of its two sides; the weights stand for e^log_scale times them.
  struct Sums {
    Matrix64 products;
    std::vector<double> left, right;
    double weight = 0;
    double log_scale = 0;
  };

  /// One channel of one KV head, ready to be summed.
  struct Terms {
    InformationChannel channel;
    ConstMatrixView left, right;  ///< [n_candidates, any]: a_i and b_i; the same view for symmetric products
    std::vector<double> weights;  ///< [n_candidates] w_i, or their logarithms; empty: all 1
    bool logarithmic = false;     ///< weights are logarithms; each cell gets a scale of its own, and nothing is lost
    bool with_sides = false;      ///< Sums::left and right are wanted
    Matrix64 query_root = {};     ///< C with C C^T = Lambda, where the signal needs it
    std::optional<Tensor> owned = {};  ///< what `right` views where it is not the cache
    std::size_t n_directions = 0;      ///< rows of X; set by the base
    std::size_t n_signals = 1;         ///< noise=signal is tr(X) / (value_dim n_signals) of the full cache
    double noise = 1;                  ///< sigma^2; set by the base
    double full = 0;                   ///< nats of all candidates; set by the base
  };

  InformationMetric(const UnitShape& shape, const Parameters& parameters);

  /// To be called by the constructor of the metric itself: prepares all channels by prepare().
  void start();
  virtual Terms prepare(std::size_t kv_head, InformationChannel channel) = 0;
  /// B with X = B B^T, where sums give one: it says more of X in float64 than X itself. Nothing: add_signal() gives X.
  /// \param sums  of a retained set that is not empty
  virtual std::optional<Matrix64> signal_root(const Terms& terms, const Sums& sums) const;
  /// matrix += factor X, the upper triangle alone. To be overridden where there is no signal_root().
  virtual void add_signal(const Terms& terms, const Sums& sums, double factor, Matrix64& matrix) const;

  const PromptView& view() const { return *shape_.view; }
  const Parameters& parameters() const { return parameters_; }

 private:
  // Sums over the cells of one plan.
  struct Cells {
    OuterSums sums;
    std::vector<double> log_scales;
    std::vector<double> exponentials;
  };

  void sum_cells(const Terms& terms, std::span<const std::uint32_t> rows, std::span<const std::size_t> cell_ends,
                 Cells& cells) const;
  void add_cell(const Terms& terms, const Cells& cells, std::size_t cell, Sums& set) const;
  // A log det on its way: known already, or that of a matrix.
  struct Determinant {
    std::optional<double> value;
    Matrix64 matrix;   // I + X / noise, the upper triangle
    double power = 0;  // trace of X / noise
  };
  Determinant determinant(const Terms& terms, const Sums& sums) const;
  std::vector<double> nats(const Terms& terms, std::vector<Determinant> determinants) const;
  std::vector<double> nats_by_budget(const Terms& terms, const HeadRetention& head, Cells& cells) const;

  static const Sums kNothing;

  UnitShape shape_;
  Parameters parameters_;
  std::vector<std::vector<Terms>> heads_;  // [n_kv_heads][n_channels]
  ScratchPool<Cells> cells_;
  MetricSums sums_;
};

}  // namespace kvreplay
