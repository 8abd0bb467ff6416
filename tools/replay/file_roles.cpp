#include "tools/replay/file_roles.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <compare>

#include "core/base/error.h"

namespace kvreplay {
namespace {

namespace fs = std::filesystem;

/// Which file a path names, whether there is one or not.
struct FileIdentity {
  dev_t device = 0;
  ino_t inode = 0;
  std::string name;  // below the folder that these are of, where there is no file yet

  bool operator==(const FileIdentity&) const = default;
};

// Where a link to nothing leads; other paths as they are.
fs::path followed(fs::path path) {
  constexpr int kMostLinks = 40;  // as the system has it
  std::error_code error;
  for (int i = 0; i < kMostLinks && fs::is_symlink(fs::symlink_status(path, error)); ++i)
    path = path.parent_path() / fs::read_symlink(path, error);
  return path;
}

FileIdentity identity_of(const fs::path& path) {
  struct stat status;
  if (stat(path.c_str(), &status) == 0) return {.device = status.st_dev, .inode = status.st_ino, .name = ""};
  std::error_code ignored;
  const fs::path whole = fs::weakly_canonical(fs::absolute(followed(path), ignored), ignored);
  if (stat(whole.parent_path().c_str(), &status) == 0)
    return {.device = status.st_dev, .inode = status.st_ino, .name = whole.filename().string()};
  return {.name = whole.string()};
}

fs::path temporary_of(const fs::path& path) { return path.string() + ".tmp"; }
fs::path units_of(const fs::path& path) { return path.string() + ".units"; }

bool lies_in(const fs::path& path, const fs::path& folder) {
  struct stat status;
  if (stat(folder.c_str(), &status) != 0) return false;
  std::error_code ignored;
  const fs::path parent = fs::weakly_canonical(fs::absolute(path, ignored), ignored).parent_path();
  return identity_of(parent) == identity_of(folder);
}

void check_input(const fs::path& input, const OutputRole& output) {
  const FileIdentity read = identity_of(input);
  if (read == identity_of(output.path))
    throw UsageError(input == output.path
                         ? fmt::format("{} {}: it is read, and would be lost", output.option, output.path.string())
                         : fmt::format("{} {}: it is the file {}, which is read and would be lost", output.option,
                                       output.path.string(), input.string()));
  if (read == identity_of(temporary_of(output.path)) || lies_in(input, units_of(output.path)))
    throw UsageError(fmt::format("{} {}: {} is read, and files of that name are written on the way", output.option,
                                 output.path.string(), input.string()));
}

void check_two(const OutputRole& a, const OutputRole& b) {
  const FileIdentity first = identity_of(a.path), second = identity_of(b.path);
  if (first == second || first == identity_of(temporary_of(b.path)) || identity_of(temporary_of(a.path)) == second)
    throw UsageError(
        fmt::format("{} {} and {} {} are one file: give two", a.option, a.path.string(), b.option, b.path.string()));
}

}  // namespace

void check_file_roles(std::span<const fs::path> inputs, std::span<const OutputRole> outputs) {
  for (std::size_t o = 0; o < outputs.size(); ++o) {
    for (const fs::path& input : inputs) check_input(input, outputs[o]);
    for (std::size_t other = 0; other < o; ++other) check_two(outputs[other], outputs[o]);
  }
}

}  // namespace kvreplay
