#include "traces/hdf5/new_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "core/base/error.h"

namespace kvreplay {
namespace {

[[noreturn]] void fail(const char* action, const std::filesystem::path& path) {
  const int error = errno;
  throw SystemError(fmt::format("{}: cannot {}: {}", path.string(), action, std::strerror(error)));
}

/// Opens and locks `path`; where file systems have no locks it goes without. Whoever only tries whether the file can be
/// created has it for a moment: not to be taken for one that writes it.
int open_locked(const std::filesystem::path& path) {
  constexpr int kTries = 20;
  for (int n_locked = 0;;) {
    const int descriptor = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (descriptor < 0) fail("create", path);
    if (flock(descriptor, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
      close(descriptor);
      if (++n_locked < kTries) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
        continue;
      }
      throw SystemError(fmt::format("{}: cannot create: another process is writing it", path.string()));
    }
    // Between open and lock its former owner may have renamed the file: then the name belongs to another one, or none.
    struct stat opened, named;
    if (fstat(descriptor, &opened) == 0 && stat(path.c_str(), &named) == 0 && opened.st_ino == named.st_ino &&
        opened.st_dev == named.st_dev)
      return descriptor;
    close(descriptor);
  }
}

}  // namespace

NewFile::NewFile(const std::filesystem::path& path)
    : path_(path), temporary_(path.string() + ".tmp"), descriptor_(open_locked(temporary_)) {}

NewFile::~NewFile() {
  if (!committed_) unlink(temporary_.c_str());
  close(descriptor_);
}

void NewFile::discard() noexcept {
  if (!committed_) static_cast<void>(!ftruncate(descriptor_, 0));
}

void NewFile::sync() {
  if (fsync(descriptor_) != 0) fail("write", temporary_);
}

void NewFile::commit() {
  sync();
  if (rename(temporary_.c_str(), path_.c_str()) != 0) fail("rename to its final name", temporary_);
  committed_ = true;
  const std::filesystem::path folder = path_.has_parent_path() ? path_.parent_path() : ".";
  const int descriptor = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;  // a folder that may be written but not read cannot be synced
  const bool synced = fsync(descriptor) == 0 || errno == EINVAL || errno == EROFS;  // EINVAL: folders need no sync here
  close(descriptor);
  if (!synced) fail("write", folder);
}

}  // namespace kvreplay
