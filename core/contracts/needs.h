#pragma once
// What rows of the tables look at besides keys and values: declared once per row, checked against a trace in one place,
// joined for reading and for estimates, and told in prose.

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "core/contracts/parameters.h"
#include "core/data/trace_info.h"

namespace kvreplay {

/// What a trace offers one policy or metric in one layer of one case.
struct TraceOffer {
  std::vector<std::size_t> query_positions;  ///< ascending
  Range candidates;
  bool output_projection = false;
  bool block_cosine = false;
  bool probes = false;
  bool sensitivity = false;
  const ModelInfo* model = nullptr;
  std::size_t layer = 0;    ///< index in the model
  std::string prompt = {};  ///< prompt_digest() of the sample
};

/// What is looked at, with the parameters of one use.
struct Needs {
  std::size_t query_window = 0;  ///< of the last prompt queries; kAll: every candidate's
  bool output_projection = false;
  bool probes = false;  ///< of the compression point
  bool block_cosine = false;
  bool sensitivity = false;         ///< of the compression point
  bool evaluation_queries = false;  ///< those from the compression point on
};

Needs joined(const Needs& a, const Needs& b);

/// What an offer lacks, as one clause; "" for nothing.
std::string unmet(const Needs& needs, const TraceOffer& offer);

/// One line of a row's declaration. Made by the functions of namespace need.
struct Need {
  enum class What { queries, output_projection, probes, block_cosine, sensitivity, evaluation_queries, other };

  What what = What::other;
  std::string prose;                       ///< without its condition
  std::size_t count = 0;                   ///< of queries
  std::string count_parameter = {};        ///< instead of `count`
  std::string parameter = {}, value = {};  ///< only where this parameter has this value; "" always
  /// What else may be wrong with a trace, as one clause; "" if nothing. For rows that go with some traces only.
  std::string (*check)(const TraceOffer&, const Parameters&) = nullptr;

  /// The same, only where a parameter has this value.
  Need when(std::string parameter_name, std::string parameter_value) const;
};

namespace need {
Need last_queries(std::string count_parameter);  ///< as many prompt queries as the parameter says
Need last_queries(std::size_t count);
Need all_queries();  ///< those of all candidates
Need output_projection();
Need probes();
Need block_cosine();
Need sensitivities();
Need evaluation_queries();  ///< those from the compression point on: oracles and metrics alone get them
Need other(std::string prose, std::string (*check)(const TraceOffer&, const Parameters&) = nullptr);
}  // namespace need

/// What a declaration comes to with these parameters.
Needs needs_of(std::span<const Need> declared, const Parameters& parameters);
/// What an offer lacks of a declaration, its own checks included, as one clause; "" for nothing.
std::string unmet(std::span<const Need> declared, const Parameters& parameters, const TraceOffer& offer);
/// "the last `window` prompt queries; W_O with of=projected"; "" for an empty declaration.
std::string prose_of(std::span<const Need> declared);

}  // namespace kvreplay
