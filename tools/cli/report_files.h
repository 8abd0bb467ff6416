#pragma once
// A report of files.

#include <filesystem>
#include <string>
#include <vector>

#include "analysis/report/report_tokens.h"

namespace kvreplay {

struct ReportInputs {
  std::vector<std::string> results, retained, traces;
  std::string title;  ///< "": the model and the first samples
  std::string name;   ///< of the results where their file has another one yet; "": its own
  std::size_t token_bytes = kTokenBytes;

  std::vector<std::filesystem::path> paths() const;
};

/// The page. Throws InputError and UsageError as reading, comparing and reporting do.
std::string make_report(const ReportInputs& inputs);

}  // namespace kvreplay
