#include "core/contracts/needs.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/evidence/prompt_view.h"

namespace kvreplay {
namespace {

bool applies(const Need& need, const Parameters& parameters) {
  return need.parameter.empty() || parameters.choice(need.parameter) == need.value;
}

}  // namespace

Needs joined(const Needs& a, const Needs& b) {
  return {.query_window = std::max(a.query_window, b.query_window),
          .output_projection = a.output_projection || b.output_projection,
          .probes = a.probes || b.probes,
          .block_cosine = a.block_cosine || b.block_cosine,
          .sensitivity = a.sensitivity || b.sensitivity,
          .evaluation_queries = a.evaluation_queries || b.evaluation_queries};
}

std::string unmet(const Needs& needs, const TraceOffer& offer) {
  if ((needs.query_window > 0 || needs.evaluation_queries) && offer.query_positions.empty())
    return "it needs queries, and none are recorded";
  if (needs.evaluation_queries && offer.query_positions.back() < offer.candidates.end)
    return "it needs queries from the compression point on, and none are recorded";
  if (needs.query_window > 0)
    if (std::string missing = missing_queries(offer.query_positions, offer.candidates, needs.query_window);
        !missing.empty())
      return missing;
  if (needs.output_projection && !offer.output_projection) return "it needs W_O, and none is recorded";
  if (needs.probes && !offer.probes) return "it needs probe queries, and none are recorded";
  if (needs.block_cosine && !offer.block_cosine) return "it needs block_cosine, and none is recorded";
  if (needs.sensitivity && !offer.sensitivity)
    return "it needs sensitivities (kvreplay record --sensitivity), and none are recorded";
  return "";
}

Need Need::when(std::string parameter_name, std::string parameter_value) const {
  Need need = *this;
  need.parameter = std::move(parameter_name);
  need.value = std::move(parameter_value);
  return need;
}

namespace need {

Need last_queries(std::string count_parameter) {
  return {.what = Need::What::queries,
          .prose = fmt::format("the last `{}` prompt queries", count_parameter),
          .count_parameter = std::move(count_parameter)};
}

Need last_queries(std::size_t count) {
  return {.what = Need::What::queries,
          .prose = count == 1 ? "the last prompt query" : fmt::format("the last {} prompt queries", count),
          .count = count};
}

Need all_queries() { return {.what = Need::What::queries, .prose = "all prompt queries", .count = kAll}; }

Need output_projection() { return {.what = Need::What::output_projection, .prose = "W_O"}; }

Need probes() { return {.what = Need::What::probes, .prose = "the probe of the compression point"}; }

Need block_cosine() { return {.what = Need::What::block_cosine, .prose = "block_cosine"}; }

Need sensitivities() {
  return {.what = Need::What::sensitivity,
          .prose = "sensitivities of the compression point (kvreplay record --sensitivity)"};
}

Need evaluation_queries() { return {.what = Need::What::evaluation_queries, .prose = "the evaluation queries"}; }

Need other(std::string prose, std::string (*check)(const TraceOffer&, const Parameters&)) {
  return {.what = Need::What::other, .prose = std::move(prose), .check = check};
}

}  // namespace need

Needs needs_of(std::span<const Need> declared, const Parameters& parameters) {
  Needs needs;
  for (const Need& each : declared) {
    if (!applies(each, parameters)) continue;
    Needs one;
    switch (each.what) {
      case Need::What::queries:
        one.query_window = each.count_parameter.empty() ? each.count : parameters.count(each.count_parameter);
        break;
      case Need::What::output_projection:
        one.output_projection = true;
        break;
      case Need::What::probes:
        one.probes = true;
        break;
      case Need::What::block_cosine:
        one.block_cosine = true;
        break;
      case Need::What::sensitivity:
        one.sensitivity = true;
        break;
      case Need::What::evaluation_queries:
        one.evaluation_queries = true;
        break;
      case Need::What::other:
        break;
    }
    needs = joined(needs, one);
  }
  return needs;
}

std::string unmet(std::span<const Need> declared, const Parameters& parameters, const TraceOffer& offer) {
  if (std::string lack = unmet(needs_of(declared, parameters), offer); !lack.empty()) return lack;
  for (const Need& each : declared)
    if (each.check != nullptr && applies(each, parameters))
      if (std::string lack = each.check(offer, parameters); !lack.empty()) return lack;
  return "";
}

std::string prose_of(std::span<const Need> declared) {
  std::string prose;
  for (const Need& each : declared) {
    prose += (prose.empty() ? "" : "; ") + each.prose;
    if (!each.parameter.empty()) prose += fmt::format(" with {}={}", each.parameter, each.value);
  }
  return prose;
}

}  // namespace kvreplay
