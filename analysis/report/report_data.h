#pragma once
// Everything that a report says, as one JSON object and coded arrays: docs/report.md.

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "analysis/compare/comparison.h"
#include "analysis/report/coded_arrays.h"
#include "analysis/report/report_source.h"
#include "analysis/report/report_tokens.h"

namespace kvreplay {

/// A file that a report is made of.
struct ReportFile {
  std::string name;  ///< without its folder
  std::uintmax_t bytes = 0;
  std::string fingerprint;
};

struct ReportData {
  nlohmann::ordered_json meta;
  CodedArrays arrays, token_arrays;
};

/// What a report is made of beside its results.
struct ReportParts {
  std::vector<ReportFile> files;
  std::string title;                    ///< "": the model and the first samples
  const TokenSource* tokens = nullptr;  ///< of the same results; nullptr: none
  std::size_t token_bytes = kTokenBytes;
};

/// Throws InputError unless one of the metrics is a loss that a report can rank by.
void require_headline(std::span<const std::string> metrics);

/// \param comparison  of the same results: its notes and the measure that it ranks by are the report's
/// Throws InputError for results that hold nothing to report, and what the sources throw.
ReportData report_data(const ReportSource& source, const Comparison& comparison, const ReportParts& parts);

}  // namespace kvreplay
