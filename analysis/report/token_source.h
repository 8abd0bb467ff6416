#pragma once
// Where the retained sets of a report come from.

#include <optional>
#include <string>
#include <vector>

#include "analysis/compare/results.h"
#include "core/data/saved_sets.h"
#include "core/data/trace_info.h"

namespace kvreplay {

/// What a case is about, in words.
struct TokenPrompt {
  std::vector<std::string> token_texts;  ///< of the whole sample; empty where nothing is known
  std::vector<Span> spans;
  std::size_t decode_start = 0;  ///< where the answer begins
};

class TokenSource {
 public:
  virtual ~TokenSource() = default;
  /// Labels, in the order of the sets.
  virtual const std::vector<double>& budgets() const = 0;
  /// nullptr where there are no sets of the case. Throws what opening throws.
  virtual const TokenPrompt* prompt(const ResultsCase& at) const = 0;
  /// What sets there are of a case with a prompt, without reading them; nothing where the policy was left out.
  /// \param layer  number in the model
  virtual std::optional<SavedSetsShape> shape(const ResultsCase& at, std::int64_t layer,
                                              const std::string& policy) const = 0;
  virtual std::optional<SavedSets> read(const ResultsCase& at, std::int64_t layer, const std::string& policy) const = 0;
};

}  // namespace kvreplay
