// How much policies agree on what to keep.

#include <bit>

#include "core/contracts/metric.h"
#include "core/data/trace_info.h"

namespace kvreplay {
namespace {

// Retained sets of one head as bits, [n_budgets][n_words].
class SetBits {
 public:
  SetBits(const HeadRetention& head, std::size_t t) : n_words_((head.n_tokens() + 63) / 64) {
    bits_.assign(head.n_budgets() * n_words_, 0);
    for (std::size_t b = 0; b < head.n_budgets(); ++b) {
      const TokenRetention tokens = head.tokens(b);
      for (std::size_t i = 0; i < head.n_tokens(); ++i)
        if (tokens.holds(i, t)) bits_[b * n_words_ + i / 64] |= std::uint64_t{1} << i % 64;
    }
  }

  // |A and B| / |A or B|; two empty sets are equal.
  double jaccard(const SetBits& other, std::size_t budget) const {
    std::size_t both = 0, either = 0;
    for (std::size_t w = budget * n_words_; w < (budget + 1) * n_words_; ++w) {
      both += static_cast<std::size_t>(std::popcount(bits_[w] & other.bits_[w]));
      either += static_cast<std::size_t>(std::popcount(bits_[w] | other.bits_[w]));
    }
    return either == 0 ? 1 : static_cast<double>(both) / static_cast<double>(either);
  }

 private:
  std::size_t n_words_;
  std::vector<std::uint64_t> bits_;
};

class Overlap final : public MetricAccumulator {
 public:
  explicit Overlap(const UnitShape& shape) : shape_(shape), retentions_(shape.n_policies) {}

  void add_retention(std::size_t policy, const Retention& retention) override { retentions_[policy] = &retention; }

  MetricSums finish() override {
    const std::size_t n = shape_.n_policies, n_heads = shape_.layer->model.n_q_heads;
    MetricSums sums{.numerator = std::vector<double>(n * shape_.n_budgets * n, 0.0),
                    .denominator = std::vector<double>(n, static_cast<double>(n_heads))};
    for (std::size_t h = 0; h < n_heads; ++h) {  // head by head, so that the bits of one head are all that is held
      std::vector<SetBits> sets;
      for (const Retention* retention : retentions_)
        sets.emplace_back(retention->of_query_head(h, shape_.layer->model), shape_.candidates.end);
      for (std::size_t p = 0; p < n; ++p)
        for (std::size_t other = p; other < n; ++other)
          for (std::size_t b = 0; b < shape_.n_budgets; ++b) {
            const double overlap = sets[p].jaccard(sets[other], b);
            sums.numerator[(p * shape_.n_budgets + b) * n + other] += overlap;
            if (other != p) sums.numerator[(other * shape_.n_budgets + b) * n + p] += overlap;
          }
    }
    return sums;
  }

 private:
  UnitShape shape_;
  std::vector<const Retention*> retentions_;  // [n_policies]
};

const RegisterMetric overlap{{
    .name = "overlap",
    .label = "Overlap",
    .unit = "1",
    .summary = "Jaccard overlap of the retained sets with those of another policy, mean over query heads",
    .better = Better::higher,
    .formula = MetricFormula::ratio,
    .axis = MetricAxis::layer,
    .parts = MetricParts::other_policy,
    .needs_outputs = false,
    .monotone = false,
    .by_request = true,
    .make = make_accumulator<Overlap>,
}};

}  // namespace
}  // namespace kvreplay
