#pragma once
// Estimates in JSON, by nlohmann's rules: `Json(estimate)`.

#include <nlohmann/json.hpp>

#include "analysis/compare/bootstrap.h"
#include "analysis/compare/paired_comparison.h"

namespace kvreplay {

/// NaN is written as null.
template <typename Json>
void to_json(Json& json, const Estimate& estimate) {
  json = {{"value", estimate.value}, {"low", estimate.low}, {"high", estimate.high}, {"n_samples", estimate.n_samples}};
}

template <typename Json>
void to_json(Json& json, const Score& score) {
  json = {{"wins", score.wins}, {"ties", score.ties}, {"losses", score.losses}};
}

}  // namespace kvreplay
