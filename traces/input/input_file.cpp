#include "traces/input/input_file.h"

#include <fmt/format.h>

#include "core/base/error.h"
#include "traces/input/naming_file.h"
#include "traces/input/reader_process.h"
#include "traces/input/stored_values.h"

namespace kvreplay {
namespace {

namespace fs = std::filesystem;

void take(const fs::path& path, hdf5::Described&& described, hdf5::StoredFile& file) {
  if (!described.complaint.empty()) throw InputError(fmt::format("{}: {}", path.string(), described.complaint));
  file.confinement = described.confinement;
  file.set_index(std::move(described.index), described.n_bytes);
}

}  // namespace

InputFile::InputFile(const fs::path& path) : InputFile(std::move(open_together({&path, 1})[0])) {}

std::vector<InputFile> InputFile::open_together(std::span<const fs::path> paths) {
  std::vector<std::shared_ptr<hdf5::StoredFile>> files;
  std::vector<const FileBytes*> bytes;
  for (const fs::path& path : paths) bytes.push_back(&files.emplace_back(new hdf5::StoredFile(path))->bytes);
  std::vector<hdf5::Described> described =
      naming_file<InputError>(paths.front(), [&] { return hdf5::describe_files(bytes); });
  std::vector<InputFile> all;
  for (std::size_t i = 0; i < described.size(); ++i) {
    if (i > 0 && !described[i].complaint.empty()) break;
    take(paths[i], std::move(described[i]), *files[i]);
    all.push_back(InputFile(paths[i], std::move(files[i])));
  }
  return all;
}

InputFile InputFile::with_members(std::size_t first, std::size_t count) const {
  const FileBytes* const bytes = &stored_->bytes;
  auto file = std::make_shared<hdf5::StoredFile>(stored_->shared);
  std::vector<hdf5::Described> described = naming_file<InputError>(path_, [&] {
    return hdf5::describe_files({&bytes, 1}, {.first = first, .count = count});
  });
  take(path_, std::move(described[0]), *file);
  return InputFile(path_, std::move(file));
}

const FileBytes& InputFile::bytes() const { return stored_->bytes; }

FileFormat InputFile::format() const {
  return naming_file<InputError>(path_, [&] {
    const hdf5::StoredGroup root = root_of(*stored_);
    if (!has_attribute(root, "format"))
      throw hdf5::Violation("neither a trace nor results of kvreplay: an HDF5 file without attribute format");
    FileFormat format{.name = read_name_attribute(root, "format"), .version = ""};
    if (has_attribute(root, "format_version")) format.version = read_name_attribute(root, "format_version");
    return format;
  });
}

std::uint64_t InputFile::structure_bytes() const { return stored_->index_bytes; }

std::string_view InputFile::confinement() const {
  const hdf5::Confinement& by = stored_->confinement;
  if (!by.system_calls) return by.files ? "confined (Landlock only)" : "not confined";
  return by.files ? "confined (seccomp, Landlock)" : "confined (seccomp)";
}

}  // namespace kvreplay
