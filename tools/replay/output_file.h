#pragma once
// Text outputs that appear whole or not at all, and are known to be writable before the work starts.

#include <filesystem>
#include <memory>
#include <sstream>

#include "traces/hdf5/new_file.h"

namespace kvreplay {

/// Throws UsageError when `path` exists and may not be overwritten or is no regular file, SystemError when no file can
/// be created beside it. Leaves nothing behind: for outputs that somebody else writes when the work is done.
void check_output(const std::filesystem::path& path, bool overwrite);

/// Gathers text, and writes it when the work is done. Destroyed before commit(), it leaves nothing behind.
class OutputFile {
 public:
  /// Throws as check_output() does.
  OutputFile(const std::filesystem::path& path, bool overwrite);

  std::ostream& stream() { return text_; }

  /// The file is whole now; commit() of what is returned makes it appear. Throws SystemError (disk full, ...).
  std::unique_ptr<NewFile> finish();
  void commit() { finish()->commit(); }

 private:
  std::unique_ptr<NewFile> file_;
  std::ostringstream text_;
};

}  // namespace kvreplay
