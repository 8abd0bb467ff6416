#pragma once
// Several results files as one: more cases, more policies, more layers, or any mixture of these.

#include <string>
#include <vector>

#include "core/data/dataset.h"

namespace kvreplay {

struct ResultsFile {
  std::string name;  ///< for messages
  Dataset data;      ///< laid out as docs/formats/results.md says
};

/// What joining files finds out about them.
struct JoinFindings {
  bool budgets_differ = false;     ///< between the files: values are missing at budgets of others
  std::vector<std::string> notes;  ///< what differs between the files and does not prevent a comparison, a line each
};

struct JoinedResults : JoinFindings {
  /// As docs/formats/results.md, and a variable kReplayed [case, layer, policy] that is 1 where some file holds that
  /// replay.
  Dataset data;
};

inline constexpr std::string_view kReplayed = "replayed";

/// Joins by name: a case is the same when its recording (by fingerprint), sample and compression point are. Policies
/// stand in order of first appearance. Cases of equal label but different recordings get the trace's name before it.
///
/// Budgets of different files stand together in ascending order.
/// Throws InputError naming the files: no results in them; another model, other heads or another kind of budgets; the
/// same replay in two files with different values. A single file is passed on without copying its arrays.
JoinedResults join_results(std::vector<ResultsFile> files);

}  // namespace kvreplay
