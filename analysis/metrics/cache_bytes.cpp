// What the retained cache weighs, in the layouts that exist.

#include <algorithm>

#include "core/contracts/metric.h"

namespace kvreplay {
namespace {

// How a cache with a set per head lies in memory.
enum class Layout { ragged, padded, paged };
constexpr std::size_t kPage = 16;  // tokens per block, as in vLLM

template <Layout layout>
class CacheBytes final : public MetricAccumulator {
 public:
  explicit CacheBytes(const UnitShape& shape)
      : shape_(shape),
        bytes_per_token_(
            static_cast<double>((shape.layer->model.head_dim + shape.layer->model.value_dim) * size_of(shape.dtype))) {
    sums_.numerator.assign(shape.n_policies * shape.n_budgets, 0.0);
    sums_.denominator = {bytes_per_token_ *
                         static_cast<double>(shape.layer->model.n_kv_heads * shape.candidates.size())};
  }

  void add_retention(std::size_t policy, const Retention& retention) override {
    for (std::size_t b = 0; b < shape_.n_budgets; ++b) {
      std::size_t tokens = 0, longest = 0;
      for (const HeadRetention& head : retention.heads()) {
        const std::size_t n = head.count(b, shape_.candidates.end);
        tokens += layout == Layout::paged ? (n + kPage - 1) / kPage * kPage : n;
        longest = std::max(longest, n);
      }
      if (layout == Layout::padded) tokens = longest * retention.heads().size();
      sums_.numerator[policy * shape_.n_budgets + b] = bytes_per_token_ * static_cast<double>(tokens);
    }
  }

  MetricSums finish() override { return std::move(sums_); }

 private:
  UnitShape shape_;
  double bytes_per_token_;
  MetricSums sums_;
};

const RegisterMetric bytes{{
    .name = "bytes",
    .label = "Bytes",
    .unit = "byte",
    .summary = "keys and values kept, each head just as long as it needs (ragged); per query head where sets are",
    .better = Better::lower,
    .formula = MetricFormula::sum,
    .axis = MetricAxis::layer,
    .needs_outputs = false,
    .make = make_accumulator<CacheBytes<Layout::ragged>>,
}};

const RegisterMetric bytes_padded{{
    .name = "bytes_padded",
    .label = "Bytes, heads padded",
    .unit = "byte",
    .summary = "keys and values kept when every head of a layer is padded to its longest",
    .better = Better::lower,
    .formula = MetricFormula::sum,
    .axis = MetricAxis::layer,
    .needs_outputs = false,
    .make = make_accumulator<CacheBytes<Layout::padded>>,
}};

const RegisterMetric bytes_paged{{
    .name = "bytes_paged",
    .label = "Bytes in pages",
    .unit = "byte",
    .summary = "keys and values kept in pages of 16 tokens per head",
    .better = Better::lower,
    .formula = MetricFormula::sum,
    .axis = MetricAxis::layer,
    .needs_outputs = false,
    .make = make_accumulator<CacheBytes<Layout::paged>>,
}};
}  // namespace
}  // namespace kvreplay
