#pragma once
// What a command reads and what it will write: nothing may be both.

#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace kvreplay {

/// One file that a command will write.
struct OutputRole {
  std::string option;  ///< that names it, for messages: "--output"
  std::filesystem::path path;
};

/// Throws UsageError where an output is an input, or two outputs are one file: by device and inode, so that other
/// spellings, symbolic links and hard links of a file count as the file. The temporary file beside an output (NewFile)
/// and the folder of units beside the results of a replay (UnitJournal) count as written too.
void check_file_roles(std::span<const std::filesystem::path> inputs, std::span<const OutputRole> outputs);

}  // namespace kvreplay
