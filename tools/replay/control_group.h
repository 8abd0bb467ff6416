#pragma once
// What this process may use of the machine: a job of Slurm, a container or `taskset` may have less than there is.

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace kvreplay {

/// The control groups that this process is in, from its own to the outermost; each may have a limit.
class ControlGroups {
 public:
  /// \param root  of the file system; another one in tests
  explicit ControlGroups(std::filesystem::path root = "/");

  /// Bytes that the tightest group has left; nothing where none has a limit.
  std::optional<std::size_t> memory_left() const;
  /// Processors' worth of time; nothing where none has a limit.
  std::optional<double> processors() const;

 private:
  /// Folders of one controller, "" for those of version 2.
  std::vector<std::filesystem::path> folders(const std::string& controller) const;

  std::filesystem::path mount_;
  struct Group {
    std::string controllers, path;
  };
  std::vector<Group> groups_;
};

/// How many threads can work at a time: processors that the process may run on, and that its control groups give it
/// time on; at least 1.
std::size_t usable_processors();

}  // namespace kvreplay
