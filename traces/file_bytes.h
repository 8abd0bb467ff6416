#pragma once
// The raw bytes of an input file: its size, and a hash that tells files apart without reading all of them.

#include <cstdint>
#include <filesystem>
#include <string>

namespace kvreplay {

/// An open file descriptor for reading.
class FileBytes {
 public:
  /// Throws InputError: no such file, a folder, no permission.
  explicit FileBytes(const std::filesystem::path& path);
  ~FileBytes();
  FileBytes(const FileBytes&) = delete;
  FileBytes& operator=(const FileBytes&) = delete;

  std::uint64_t size() const { return size_; }

  /// XXH3-128 of the size, the first and last MiB and 64 evenly spaced blocks of 64 KiB, as 32 hex digits.
  std::string fingerprint() const;

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
};

}  // namespace kvreplay
