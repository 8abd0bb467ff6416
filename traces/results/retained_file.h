#pragma once
// Retained sets that a replay saved (docs/formats/retained.md): which tokens each policy keeps.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/data/saved_sets.h"
#include "core/data/trace_info.h"
#include "traces/input/input_file.h"

namespace kvreplay {

inline constexpr const char* kRetainedFormat = "kvreplay-retained";

/// What the file says of a sample; files before 1.1 say nothing.
struct RetainedSample {
  std::size_t index = 0;  ///< in its trace
  std::string name;
  std::size_t decode_start = 0;
  std::vector<std::string> token_texts;  ///< empty where the trace has none
  std::vector<Span> spans;
};

/// Where sets lie: of a sample at a compression point, in a layer, by a policy.
struct RetainedPlace {
  std::size_t sample = 0;
  std::string_view point;
  std::size_t layer = 0;  ///< of the model
  std::string_view policy;
};

class RetainedFile {
 public:
  /// Throws InputError for a file of another format or of a later major version, and for broken token texts and spans.
  explicit RetainedFile(InputFile file);

  const std::filesystem::path& path() const { return file_.path(); }
  const std::string& options() const { return options_; }  ///< JSON of the replay's
  const std::vector<RetainedSample>& samples() const { return samples_; }

  /// What sets there are, without themselves; nothing where the policy was left out. Throws InputError for another
  /// shape than the format has.
  std::optional<SavedSetsShape> shape(const RetainedPlace& place) const;
  /// The sets; throws for values beside 0 and 1, too.
  std::optional<SavedSets> read(const RetainedPlace& place) const;

 private:
  InputFile file_;
  std::string options_;
  std::vector<RetainedSample> samples_;
};

}  // namespace kvreplay
