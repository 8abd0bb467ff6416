#include "tools/unit_journal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>

#include "core/error.h"
#include "tools/output_file.h"
#include "traces/dataset_file.h"

namespace kvreplay {
namespace {

namespace fs = std::filesystem;

constexpr const char* kOptionsFile = "options.json";

std::string read_text(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

}  // namespace

UnitJournal::UnitJournal(const fs::path& results, const std::string& options, bool overwrite)
    : folder_(results.string() + ".units") {
  std::error_code error;
  fs::create_directory(folder_, error);
  if (error) throw SystemError(fmt::format("{}: cannot create: {}", folder_.string(), error.message()));
  // The lock is on the folder itself: it needs no file, and goes with the process.
  lock_ = open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (lock_ < 0) throw SystemError(fmt::format("{}: cannot open: {}", folder_.string(), std::strerror(errno)));
  try {
    if (flock(lock_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
      throw SystemError(fmt::format("{}: another replay is writing there", folder_.string()));
    const fs::path options_file = folder_ / kOptionsFile;
    if (fs::exists(options_file) && read_text(options_file) != options) {
      if (!overwrite)
        throw UsageError(fmt::format(
            "{} holds units of a replay with other options; finish that one, or --force to drop it", folder_.string()));
      for (const fs::directory_entry& entry : fs::directory_iterator(folder_)) fs::remove_all(entry.path());
    }
    if (!fs::exists(options_file)) {
      OutputFile file(options_file, false);
      file.stream() << options;
      file.commit();
    }
  } catch (...) {
    fs::remove(folder_, error);  // an empty one, made just now; any other stays
    close(lock_);
    throw;
  }
}

UnitJournal::~UnitJournal() { close(lock_); }

bool UnitJournal::empty() const {
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_))
    if (entry.path().extension() == ".h5") return false;
  return true;
}

bool UnitJournal::has(std::size_t unit) const { return fs::exists(file_of(unit)); }

Dataset UnitJournal::read(std::size_t unit) const { return read_dataset(file_of(unit)); }

void UnitJournal::write(std::size_t unit, const Dataset& dataset) const { write_dataset(file_of(unit), dataset); }

void UnitJournal::remove() {
  std::error_code ignored;  // what cannot be deleted is only clutter
  fs::remove_all(folder_, ignored);
}

fs::path UnitJournal::file_of(std::size_t unit) const { return folder_ / fmt::format("unit-{:06}.h5", unit); }

}  // namespace kvreplay
