#include "traces/input/file_bytes.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <vector>

#include "core/base/error.h"

namespace kvreplay {
namespace {

constexpr std::uint64_t kEndBytes = 1 << 20;
constexpr std::uint64_t kBlockBytes = 64 << 10;
constexpr std::uint64_t kBlocks = 64;

/// By errno: a machine that fails says nothing about the file.
[[noreturn]] void fail(const char* action, const std::filesystem::path& path, int error) {
  const std::string message = fmt::format("{}: cannot {}: {}", path.string(), action, std::strerror(error));
  if (error == EIO || error == EMFILE || error == ENFILE || error == ENOMEM) throw SystemError(message);
  throw InputError(message);
}

}  // namespace

FileBytes::FileBytes(const std::filesystem::path& path)
    : path_(path),
      descriptor_(
          open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)) {  // a pipe would wait for its writer
  if (descriptor_ < 0) fail("open", path, errno);
  struct stat status;
  const bool known = fstat(descriptor_, &status) == 0;
  if (known && S_ISREG(status.st_mode)) {
    size_ = static_cast<std::uint64_t>(status.st_size);
    return;
  }
  const int error = errno;
  close(descriptor_);
  if (!known) fail("open", path, error);
  throw InputError(fmt::format("{}: cannot open: not a regular file", path.string()));
}

FileBytes::~FileBytes() { close(descriptor_); }

std::size_t FileBytes::read(std::uint64_t offset, std::span<std::byte> out) const {
  std::size_t done = 0;
  while (done < out.size()) {
    const ssize_t got = pread(descriptor_, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail("read", path_, errno);
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  return done;
}

void FileBytes::prefetch(std::uint64_t offset, std::uint64_t n) const {
  // Linux cuts a request at some hundred KiB. It is advice: nothing depends on whether it is followed.
  constexpr std::uint64_t kStep = 128 << 10;
  if (offset >= size_) return;
  for (const std::uint64_t end = offset + std::min(n, size_ - offset); offset < end; offset += kStep)
    static_cast<void>(posix_fadvise(descriptor_, static_cast<off_t>(offset),
                                    static_cast<off_t>(std::min(kStep, end - offset)), POSIX_FADV_WILLNEED));
}

std::string FileBytes::fingerprint() const {
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state(XXH3_createState(), XXH3_freeState);
  if (!state) throw std::bad_alloc();
  XXH3_128bits_reset(state.get());
  std::vector<std::byte> bytes;
  const auto add = [&](std::uint64_t offset, std::uint64_t n) {
    bytes.resize(std::min(n, size_ - offset));
    if (read(offset, bytes) < bytes.size())
      throw InputError(fmt::format("{}: cannot read: it has become shorter", path_.string()));
    XXH3_128bits_update(state.get(), bytes.data(), bytes.size());
  };
  const std::string size = fmt::format("{} bytes", size_);
  XXH3_128bits_update(state.get(), size.data(), size.size());
  add(0, kEndBytes);
  add(size_ - std::min(size_, kEndBytes), kEndBytes);
  const std::uint64_t stride = size_ / kBlocks;
  for (std::uint64_t i = 0; i < kBlocks; ++i) add(i * stride, kBlockBytes);

  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state.get()));
  return fmt::format("{:02x}", fmt::join(canonical.digest, ""));
}

}  // namespace kvreplay
