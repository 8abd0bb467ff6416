#pragma once
// A replay from its plan to its files.

#include <cstddef>
#include <functional>
#include <string>

#include "tools/replay/backend_choice.h"
#include "tools/replay/output_files.h"
#include "tools/replay/work_part.h"

namespace kvreplay {

/// Told how far a replay is.
struct ReplayProgress {
  /// Units to do, without those that an interrupted replay has done, and their floating-point operations.
  std::function<void(std::size_t n_left, double flops)> begin;
  std::function<void(double flops)> advance;  ///< called from several threads at once, also within units
  std::function<void(const std::string&)> note = [](const std::string&) {};  ///< told what turns out to be left out
};

/// Replays what is left of the part and writes its files. Finished units are kept in a journal until then
/// (UnitJournal), so that the same call goes on where a killed one stopped. Throws UsageError when a file exists or the
/// journal belongs to other options, InputError, SystemError. \return false when all files were in place already
bool run_replay(const ReplayPlan& plan, const WorkPart& part, const OutputFiles& files, BackendChoice& backend,
                const ReplayProgress& progress);

}  // namespace kvreplay
