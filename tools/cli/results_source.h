#pragma once
// Results files for a report: read a few metrics at a time.

#include <string>
#include <vector>

#include "analysis/compare/results_join.h"
#include "analysis/report/report_source.h"
#include "traces/input/input_file.h"

namespace kvreplay {

class FileReportSource : public ReportSource {
 public:
  /// Throws InputError naming the file that holds no results.
  explicit FileReportSource(const std::vector<std::string>& paths);

  std::vector<std::string> metrics() const override { return metrics_; }
  Results read(std::span<const std::string> metrics) const override;

  /// As compare() takes them, with all metrics or with some.
  std::vector<ResultsFile> files(const VariableFilter& wanted = {}) const;
  const std::vector<InputFile>& inputs() const { return inputs_; }

 private:
  std::vector<InputFile> inputs_;
  std::vector<std::string> metrics_;
};

}  // namespace kvreplay
