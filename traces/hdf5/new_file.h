#pragma once
// A file that appears under its name only when it is whole.

#include <filesystem>

namespace kvreplay {

/// Owns `path`.tmp, locked against other writers, until commit() renames it; destroyed before, it removes it.
class NewFile {
 public:
  /// Throws SystemError when the file cannot be created or another process is writing it.
  explicit NewFile(const std::filesystem::path& path);
  ~NewFile();
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  const std::filesystem::path& temporary() const { return temporary_; }

  /// Empties the file: on a full disk, whoever still holds it open can then flush and close it.
  void discard() noexcept;

  /// Puts the content on disk: what fails for want of room fails here, not when files appear together. Throws
  /// SystemError.
  void sync();

  /// Syncs the content, renames, syncs the folder. Throws SystemError.
  void commit();

 private:
  std::filesystem::path path_, temporary_;
  int descriptor_ = -1;
  bool committed_ = false;
};

}  // namespace kvreplay
