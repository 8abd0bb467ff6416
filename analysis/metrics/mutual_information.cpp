// What a linear-Gaussian reading of attention says about the queries: I(q; U K q + noise).

#include "analysis/metrics/information.h"

namespace kvreplay {
namespace {

class MutualInformation final : public InformationMetric {
 public:
  MutualInformation(const UnitShape& shape, const Parameters& parameters) : InformationMetric(shape, parameters) {
    start();
  }

 private:
  Terms prepare(std::size_t kv_head, InformationChannel channel) override {
    Matrix64 root = symmetric_root(channel.anchor.moment);
    return {.channel = std::move(channel),
            .left = view().values(kv_head),
            .right = view().keys(kv_head),
            .weights = {},
            .query_root = std::move(root)};
  }

  std::optional<Matrix64> signal_root(const Terms& terms, const Sums& sums) const override {
    return projected(terms.channel, product(sums.products, terms.query_root));
  }
};

const RegisterMetric mutual_information{{
    .name = "mutual_information",
    .label = "Mutual information",
    .unit = "1",
    .summary = "share of the mutual information between queries and linear attention outputs that is kept: "
               "1/2 log det(I + M Lambda M^T / noise), M = sum u_i k_i^T; not monotone, may exceed 1",
    .better = Better::higher,
    .formula = MetricFormula::ratio,
    .axis = MetricAxis::kv_head,
    .needs_outputs = false,
    .monotone = false,
    .sum_unit = "nats",
    .paper = "CapKV, arXiv 2604.25975",
    .needs = information_needs(),
    .parameters = {.parameters = information_parameters("second")},
    .cost = information_cost,
    .make = make_accumulator<MutualInformation>,
}};

}  // namespace
}  // namespace kvreplay
