#include "tools/replay/unit_journal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "tools/replay/output_file.h"
#include "traces/results/dataset_file.h"

namespace kvreplay {
namespace {

namespace fs = std::filesystem;

constexpr const char* kOptionsFile = "options.json";
constexpr const char* kPublished = "{\"published\":";  // begins the line after the options

fs::path folder_of(const fs::path& output) { return output.string() + ".units"; }

std::string read_text(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

void write_text(const fs::path& path, const std::string& text) {
  OutputFile file(path, true);
  file.stream() << text;
  file.commit();
}

// Holds also for a replay that was stopped while it published its files.
bool is_of(const std::string& text, const std::string& options) {
  return text.starts_with(options) &&
         (text.size() == options.size() || text.compare(options.size(), std::strlen(kPublished), kPublished) == 0);
}

[[noreturn]] void refuse_others(const fs::path& folder) {
  throw UsageError(fmt::format(
      "{} holds units of a replay of other traces or with other options; finish that one, or --force to drop it",
      folder.string()));
}

bool is_unit(const fs::path& path) {
  return path.filename().string().starts_with("unit-") && path.extension() == ".h5";
}

// What a journal writes; anything else in its folder is somebody's.
bool is_ours(const fs::path& path) {
  const fs::path whole = path.extension() == ".tmp" ? path.stem() : path.filename();
  return is_unit(whole) || whole == kOptionsFile;
}

void refuse_foreign(const fs::path& folder) {
  for (const fs::directory_entry& entry : fs::directory_iterator(folder))
    if (!is_ours(entry.path()))
      throw UsageError(fmt::format("{} is where finished units are kept, and holds something else: {}", folder.string(),
                                   entry.path().filename().string()));
}

// Which file this is, whatever it is called: renaming changes nothing of it. "" when there is none.
std::string identity_of(const fs::path& path) {
  struct stat status;
  if (stat(path.c_str(), &status) != 0) return "";
  return fmt::format("{}:{}:{}:{}.{:09}", status.st_dev, status.st_ino, status.st_size, status.st_mtim.tv_sec,
                     status.st_mtim.tv_nsec);
}

// Creates the folder where needed, and locks it. The lock is on the folder itself: it needs no file, and goes with the
// process.
int open_locked(const fs::path& folder) {
  for (;;) {
    std::error_code error;
    fs::create_directory(folder, error);
    if (error) throw SystemError(fmt::format("{}: cannot create: {}", folder.string(), error.message()));
    const int descriptor = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0 && errno == ENOENT) continue;  // whoever had it has finished just now
    if (descriptor < 0) throw SystemError(fmt::format("{}: cannot open: {}", folder.string(), std::strerror(errno)));
    if (flock(descriptor, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
      close(descriptor);
      throw SystemError(fmt::format("{}: another replay is writing there", folder.string()));
    }
    // Between open and lock its former owner may have removed it: then the name belongs to another one, or none.
    struct stat opened, named;
    if (fstat(descriptor, &opened) == 0 && stat(folder.c_str(), &named) == 0 && opened.st_ino == named.st_ino &&
        opened.st_dev == named.st_dev)
      return descriptor;
    close(descriptor);
  }
}

// Each takes a descriptor here and one in the reader; those of everything else are left alone.
std::size_t n_open_together() {
  constexpr rlim_t kMost = 64;
  rlimit descriptors{};
  getrlimit(RLIMIT_NOFILE, &descriptors);
  return static_cast<std::size_t>(std::clamp<rlim_t>(descriptors.rlim_cur / 8, 1, kMost));
}

}  // namespace

std::string journal_options(const std::string& options, KeptExtras kept) {
  return fmt::format("{}\n{{\"version\": \"{}\", \"retained\": {}, \"outputs\": {}}}\n", options, KVREPLAY_VERSION,
                     kept.retained, kept.outputs);
}

UnitJournal::UnitJournal(const fs::path& output, const std::string& options, bool overwrite)
    : folder_(folder_of(output)), options_(options), lock_(open_locked(folder_)) {
  try {
    refuse_foreign(folder_);
    const fs::path options_file = folder_ / kOptionsFile;
    if (fs::exists(options_file) && !is_of(read_text(options_file), options)) {
      if (!overwrite) refuse_others(folder_);
      for (const fs::directory_entry& entry : fs::directory_iterator(folder_)) fs::remove_all(entry.path());
    }
    if (!fs::exists(options_file)) write_text(options_file, options);
  } catch (...) {
    std::error_code ignored;
    fs::remove(folder_, ignored);  // an empty one, made just now; any other stays
    close(lock_);
    throw;
  }
}

UnitJournal::~UnitJournal() { close(lock_); }

bool UnitJournal::empty() const {
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_))
    if (is_unit(entry.path())) return false;
  return true;
}

bool UnitJournal::has(std::size_t unit) const { return fs::exists(file_of(unit)); }

// A unit is no input: what is wrong with it is a matter of the disk, or of whoever came near it.
Dataset UnitJournal::read(std::size_t unit, DatasetPart part, const std::function<void(const Dataset&)>& check) const
    try {
  Dataset dataset = read_dataset(open(unit), part);
  if (check) check(dataset);
  return dataset;
} catch (const InputError& error) {
  std::error_code ignored;
  fs::remove(file_of(unit), ignored);
  throw DamagedUnit(
      unit, fmt::format("{}: damaged since it was written, and removed: {}", file_of(unit).string(), error.what()));
}

// Units are read in order, and all are our own: those that follow are opened together, by one process.
InputFile UnitJournal::open(std::size_t unit) const {
  const std::size_t n_together = n_open_together();
  const std::lock_guard guard(reading_);
  if (const auto found = opened_.find(unit); found != opened_.end()) return found->second;
  opened_.clear();
  std::vector<std::size_t> units;
  std::vector<fs::path> paths;
  for (std::size_t next = unit; units.size() < n_together && (next == unit || has(next)); ++next) {
    units.push_back(next);
    paths.push_back(file_of(next));
  }
  const std::vector<InputFile> files = InputFile::open_together(paths);
  for (std::size_t i = 0; i < files.size(); ++i) opened_.emplace(units[i], files[i]);
  return files[0];
}

void UnitJournal::write(std::size_t unit, const Dataset& dataset) const {
  write_dataset(file_of(unit), dataset);
  const std::lock_guard guard(reading_);
  opened_.erase(unit);
}

void UnitJournal::publish(std::span<const std::unique_ptr<NewFile>> files) const {
  nlohmann::json identities = nlohmann::json::array();
  for (const auto& file : files) identities.push_back(identity_of(file->temporary()));
  write_text(folder_ / kOptionsFile, fmt::format("{}{}{}}}\n", options_, kPublished, identities.dump()));
  for (const auto& file : files) file->commit();
}

bool UnitJournal::published(const fs::path& output, const fs::path& path) {
  const std::string text = read_text(folder_of(output) / kOptionsFile), identity = identity_of(path);
  const std::size_t line = text.rfind(std::string("\n") + kPublished);
  if (line == std::string::npos || identity.empty()) return false;
  return text.find(nlohmann::json(identity).dump(), line) != std::string::npos;
}

std::size_t UnitJournal::n_left(const fs::path& output, const std::string& options, bool overwrite) {
  const fs::path folder = folder_of(output);
  if (!fs::exists(folder / kOptionsFile)) return 0;
  if (!is_of(read_text(folder / kOptionsFile), options)) {
    if (!overwrite) refuse_others(folder);
    return 0;
  }
  std::size_t n = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) n += is_unit(entry.path());
  return n;
}

void UnitJournal::complete(const std::function<void()>& work) {
  try {
    work();
  } catch (const SystemError& error) {
    // The machine failed, not the input: what is done stays done.
    if (!empty())
      throw SystemError(fmt::format("{} (finished units are kept in {}: the same command goes on from there)",
                                    error.what(), folder_.string()));
    remove();
    throw;
  } catch (const UsageError&) {
    if (empty()) remove();
    throw;
  } catch (...) {
    remove();
    throw;
  }
  remove();
}

void UnitJournal::remove() {
  std::error_code ignored;  // what cannot be deleted is only clutter
  // The options last: killed in between, the same command still finds that it had finished. Killed after that, at most
  // an empty folder stays, which is in nobody's way.
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_, ignored))
    if (entry.path().filename() != kOptionsFile) fs::remove_all(entry.path(), ignored);
  fs::remove_all(folder_, ignored);
}

fs::path UnitJournal::file_of(std::size_t unit) const { return folder_ / fmt::format("unit-{:06}.h5", unit); }

}  // namespace kvreplay
