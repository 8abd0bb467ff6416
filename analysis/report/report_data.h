#pragma once
// Everything that a report says, as one JSON object and coded arrays: docs/report.md.

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

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

/// Reads metric by metric. Opens with the last point and the measure that compare() ranks by, and has its notes there.
/// Throws InputError for results that hold nothing to report, and what the sources throw.
ReportData report_data(const ReportSource& source, const ReportParts& parts);

}  // namespace kvreplay
