#pragma once
// The files that a replay or a merge leaves: checked before the work, written together after it.

#include <filesystem>
#include <functional>
#include <span>
#include <string>

#include "tools/replay/results_assembly.h"
#include "tools/replay/results_frame.h"
#include "tools/replay/unit_journal.h"

namespace kvreplay {

struct OutputFiles {
  std::string results;
  std::string retained;  ///< "": not wanted
  std::string outputs;   ///< "": not wanted
  std::string report;    ///< "": not wanted
  /// The page about results and, where they are kept, retained sets: files that are whole and under other names yet.
  std::function<std::string(const std::filesystem::path& results, const std::filesystem::path& retained)> make_report;
  bool force = false;  ///< overwrite
};

/// Throws UsageError when one is an input, two are the same (check_file_roles()), or one exists, SystemError when one
/// cannot be created. What the same command had put in place when it was killed does not count as existing.
/// \param inputs  that the command reads
void check_output_files(const OutputFiles& files, std::span<const std::filesystem::path> inputs);

/// Whether the same command had put all files in place when it was killed: nothing is left to do.
bool published_all(const OutputFiles& files);
/// Whether it had put one of them in place.
bool published_any(const OutputFiles& files);

/// Assembles and writes all of them. They appear together, the results last. Throws UsageError when one exists by now.
/// \param kept  what the units hold
void write_output_files(const OutputFiles& files, KeptExtras kept, const ResultsFrame& frame,
                        const UnitReader& read_unit, const UnitJournal& journal);

}  // namespace kvreplay
