#pragma once
// What is known of the surrogates, as JSON.

#include <nlohmann/json.hpp>
#include <span>

#include "analysis/compare/bootstrap.h"
#include "analysis/compare/compared_policy.h"
#include "analysis/compare/paired_comparison.h"
#include "analysis/compare/surrogate_report.h"
#include "analysis/compare/unified_view.h"

namespace kvreplay {

// By nlohmann's rules: `Json(estimate)`.

/// NaN is written as null.
template <typename Json>
void to_json(Json& json, const Estimate& estimate) {
  json = {{"value", estimate.value}, {"low", estimate.low}, {"high", estimate.high}, {"n_samples", estimate.n_samples}};
}

template <typename Json>
void to_json(Json& json, const Score& score) {
  json = {{"wins", score.wins}, {"ties", score.ties}, {"losses", score.losses}};
}

/// Every figure of the report with its interval and sentence, and the unified view as "unified".
nlohmann::ordered_json surrogate_json(const SurrogateReport& report, const UnifiedView& view,
                                      std::span<const ComparedPolicy> policies);

}  // namespace kvreplay
