#pragma once
// Results files: opened for who compares or reports them, and read a few metrics at a time.

#include <map>
#include <string>
#include <vector>

#include "analysis/report/report_source.h"
#include "traces/input/input_file.h"

namespace kvreplay {

/// Throws InputError naming the file where it holds no results.
InputFile open_results(const std::string& path);

class FileReportSource : public ReportSource {
 public:
  /// Throws as open_results() does.
  explicit FileReportSource(const std::vector<std::string>& paths);

  std::vector<std::string> metrics() const override { return metrics_; }
  Results read(std::span<const std::string> metrics) const override;

  /// And what choosing the cases that all policies were replayed on said.
  JoinFindings findings() const override;
  /// As compare() takes them, with all metrics or with some.
  std::vector<ResultsFile> files(const VariableFilter& wanted = {}) const;
  const std::vector<InputFile>& inputs() const { return inputs_; }
  const std::vector<std::string>& options() const { return options_; }  ///< of each file: JSON

 private:
  JoinedResults joined(std::span<const std::string> metrics) const;

  std::vector<InputFile> inputs_;
  std::vector<std::string> metrics_, options_;
  std::vector<std::string> of_layers_;  ///< metrics of certain layers together: files may have them of others
  std::map<std::string, std::vector<std::string>> sums_;  ///< of each: they may be called after another metric
};

}  // namespace kvreplay
