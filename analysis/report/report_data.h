#pragma once
// Everything that a report says, as one JSON object and coded arrays: docs/formats/report.md.

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "analysis/compare/comparison.h"
#include "analysis/report/coded_arrays.h"
#include "analysis/report/report_source.h"

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

/// \param comparison  of the same results: its notes and the measure that it ranks by are the report's
/// \param title       "": the model and the first samples
/// Throws InputError for results that hold nothing to report, and what the source throws.
ReportData report_data(const ReportSource& source, const Comparison& comparison, std::span<const ReportFile> files,
                       const std::string& title);

}  // namespace kvreplay
