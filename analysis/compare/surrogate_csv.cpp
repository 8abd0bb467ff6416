#include "analysis/compare/surrogate_csv.h"

#include <fmt/format.h>

#include <iterator>

#include "analysis/compare/csv_cell.h"

namespace kvreplay {
namespace {

class Rows {
 public:
  explicit Rows(const SurrogateAgreement& agreement)
      : names_(csv_text(agreement.surrogate) + "," + csv_text(agreement.truth)) {}

  /// \param place  "budget,layer,head", each of which may be empty
  void add(const char* scope, const std::string& place, const char* statistic, const Estimate& estimate) {
    fmt::format_to(std::back_inserter(text_), "{},{},{},{},{},{},{},{}\n", names_, scope, place, statistic,
                   csv_number(estimate.value), csv_number(estimate.low), csv_number(estimate.high), estimate.n_samples);
  }

  void add(const char* scope, const AgreementFigures& figures) {
    add(scope, ",,", "kendall", figures.kendall);
    add(scope, ",,", "spearman", figures.spearman);
    add(scope, ",,", "pairs_right", figures.pairs_right);
  }

  const std::string& text() const { return text_; }

 private:
  std::string names_, text_;
};

}  // namespace

std::string surrogate_csv(const SurrogateReport& report) {
  std::string csv = "surrogate,truth,scope,budget,layer,head,statistic,value,low,high,n_samples\n";
  for (const SurrogateAgreement& agreement : report.agreements) {
    Rows rows(agreement);
    rows.add("equal_budget", agreement.equal_budget);
    rows.add("together", agreement.together);
    rows.add("lead", agreement.lead);
    for (std::size_t b = 0; b < agreement.by_budget.size(); ++b) {
      rows.add("budget", fmt::format("{},,", report.budgets[b]), "kendall", agreement.by_budget[b]);
    }
    for (std::size_t l = 0; l < agreement.by_layer.size(); ++l) {
      rows.add("layer", fmt::format(",{},", report.layers[l]), "kendall", agreement.by_layer[l]);
    }
    for (std::size_t h = 0; h < agreement.by_head.size(); ++h) {
      rows.add("head", fmt::format(",{},{}", report.layers[h / report.n_kv_heads], h % report.n_kv_heads), "kendall",
               agreement.by_head[h]);
    }
    csv += rows.text();
  }
  return csv;
}

}  // namespace kvreplay
