#pragma once
// Files of retained sets, held against the results that they are of.

#include <optional>
#include <string>
#include <vector>

#include "analysis/report/token_source.h"
#include "traces/results/retained_file.h"
#include "traces/trace/trace_reader.h"

namespace kvreplay {

class FileTokenSource : public TokenSource {
 public:
  /// \param sets     that the replays of `results` saved
  /// \param traces   that files before version 1.1 are of: those do not name their samples
  /// \param results  JSON of the options of each results file
  /// Throws InputError for sets of another recording, other budgets, other parameters or another seed than the results
  /// have, naming what differs.
  FileTokenSource(const std::vector<std::string>& sets, const std::vector<std::string>& traces,
                  const std::vector<std::string>& results);

  const std::vector<double>& budgets() const override { return budgets_; }
  const TokenPrompt* prompt(const ResultsCase& at) const override;
  std::optional<SavedSetsShape> shape(const ResultsCase& at, std::int64_t layer,
                                      const std::string& policy) const override;
  std::optional<SavedSets> read(const ResultsCase& at, std::int64_t layer, const std::string& policy) const override;

 private:
  struct Sample {
    std::size_t index;
    std::string name;
    TokenPrompt prompt;
  };
  struct SetsFile {
    RetainedFile file;
    std::string fingerprint;  ///< of its trace
    std::vector<Sample> samples;
  };

  /// Of the first file that has the place: the sets themselves, or their shape.
  template <typename Found, typename Find>
  std::optional<Found> first_of(const ResultsCase& at, Find find) const;
  static const Sample* sample_of(const SetsFile& sets, const ResultsCase& at);

  std::vector<SetsFile> files_;
  std::vector<double> budgets_;
};

}  // namespace kvreplay
