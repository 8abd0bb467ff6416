#pragma once
// The raw bytes of an input file: its size, and a hash that tells files apart without reading all of them.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

namespace kvreplay {

/// An open file descriptor for reading, by any number of threads.
class FileBytes {
 public:
  /// Throws InputError: no such file, a folder, no permission.
  explicit FileBytes(const std::filesystem::path& path);
  ~FileBytes();
  FileBytes(const FileBytes&) = delete;
  FileBytes& operator=(const FileBytes&) = delete;

  std::uint64_t size() const { return size_; }
  int descriptor() const { return descriptor_; }

  /// Fills `out` from `offset` on; returns how many bytes there were. Throws InputError when the disk fails.
  std::size_t read(std::uint64_t offset, std::span<std::byte> out) const;

  /// Asks the system to have these bytes in memory soon; does not wait for them.
  void prefetch(std::uint64_t offset, std::uint64_t n) const;

  /// XXH3-128 of the size, the first and last MiB and 64 evenly spaced blocks of 64 KiB, as 32 hex digits.
  std::string fingerprint() const;

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
};

}  // namespace kvreplay
