#include "tools/replay/output_file.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "core/base/error.h"

namespace kvreplay {
namespace {

namespace fs = std::filesystem;

const fs::path& checked(const fs::path& path, bool overwrite) {
  std::error_code ignored;
  const fs::file_status status = fs::status(path, ignored);
  if (path.empty()) throw UsageError("the name of an output file is empty");
  if (path == "-")
    throw UsageError(
        "output '-' would be standard output, which this file cannot go to: give a name (./- for that one)");
  if (fs::exists(status) && !fs::is_regular_file(status)) {  // a rename would replace a device or a pipe
    throw UsageError(fmt::format("output '{}' is not a regular file", path.string()));
  }
  if (!overwrite && fs::exists(fs::symlink_status(path, ignored))) {
    throw UsageError(fmt::format("output '{}' exists; --force overwrites it", path.string()));
  }
  return path;
}

}  // namespace

void check_output(const fs::path& path, bool overwrite) { const NewFile probe(checked(path, overwrite)); }

OutputFile::OutputFile(const fs::path& path, bool overwrite)
    : file_(std::make_unique<NewFile>(checked(path, overwrite))) {}

std::unique_ptr<NewFile> OutputFile::finish() {
  std::ofstream stream(file_->temporary(), std::ios::binary | std::ios::trunc);
  stream << text_.view();
  stream.close();
  if (!stream) {
    throw SystemError(fmt::format("{}: cannot write: {}", file_->path().string(), std::strerror(errno)));
  }
  file_->sync();
  return std::move(file_);
}

}  // namespace kvreplay
