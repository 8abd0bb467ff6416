// CapKV's objective: the information capacity of a cache, with the keys' part of the channel made diagonal.

#include "analysis/metrics/capacity_terms.h"
#include "analysis/metrics/information.h"

namespace kvreplay {
namespace {

class Capacity final : public InformationMetric {
 public:
  Capacity(const UnitShape& shape, const Parameters& parameters) : InformationMetric(shape, parameters) { start(); }

 private:
  Terms prepare(std::size_t kv_head, InformationChannel channel) override {
    const ConstMatrixView values = view().values(kv_head);
    std::vector<double> weights = capacity_weights_of(view(), kv_head, channel, parameters());
    return {.channel = std::move(channel),
            .left = values,
            .right = values,
            .weights = std::move(weights),
            .n_signals = values.rows};
  }

  void add_signal(const Terms& terms, const Sums& sums, double factor, Matrix64& matrix) const override {
    const Matrix64 signal = projected_gram(terms.channel, sums.products);
    for (std::size_t r = 0; r < matrix.rows; ++r)
      for (std::size_t c = r; c < matrix.cols; ++c) matrix(r, c) += factor * signal(r, c);
  }
};

const RegisterMetric capacity{{
    .name = "capacity",
    .label = "Capacity",
    .unit = "1",
    .summary = "share of the cache's information capacity that is kept: CapKV's objective L(S) / L(all), L(S) = "
               "1/2 log det(I + sum w_i u_i u_i^T / noise)",
    .better = Better::higher,
    .formula = MetricFormula::ratio,
    .axis = MetricAxis::kv_head,
    .needs_outputs = false,
    .sum_unit = "nats",
    .paper = "CapKV, arXiv 2604.25975",
    .needs = information_needs(),
    .parameters = {.parameters = capacity_parameters()},
    .cost = symmetric_information_cost,
    .make = make_accumulator<Capacity>,
}};

}  // namespace
}  // namespace kvreplay
