#pragma once

#include <filesystem>

namespace kvreplay {

/// A folder of its own in the system's folder for temporary files (TMPDIR), gone with all that is in it when this ends.
class ScratchFolder {
 public:
  /// Throws SystemError.
  ScratchFolder();
  ~ScratchFolder();
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace kvreplay
