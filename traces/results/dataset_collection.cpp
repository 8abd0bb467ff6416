#include "traces/results/dataset_collection.h"

#include <algorithm>
#include <mutex>

#include "core/base/error.h"
#include "traces/hdf5/new_hdf5_file.h"
#include "traces/input/naming_file.h"
#include "traces/input/stored_values.h"
#include "traces/results/dataset_content.h"

namespace kvreplay {

struct NewDatasetCollection::Impl {
  explicit Impl(const std::filesystem::path& path) : file(path, true) {}

  hdf5::NewHdf5File file;
  hdf5::Group members;
};

NewDatasetCollection::NewDatasetCollection(const std::filesystem::path& path, const Dataset& own) {
  naming_file<SystemError>(path, [&] {
    impl_ = std::make_unique<Impl>(path);
    write_dataset_content(hdf5::open_group(impl_->file.file(), "/"), own);
    impl_->members = hdf5::create_group(impl_->file.file(), hdf5::kMembersGroup, true);
  });
}

NewDatasetCollection::~NewDatasetCollection() {
  if (impl_) impl_->file.discard();
}

void NewDatasetCollection::add(const std::string& name, const Dataset& member) {
  naming_file<SystemError>(impl_->file.path(),
                           [&] { write_dataset_content(hdf5::create_group(impl_->members, name, true), member); });
}

std::unique_ptr<NewFile> NewDatasetCollection::finish() {
  return naming_file<SystemError>(impl_->file.path(), [&] {
    impl_->members.close();
    return impl_->file.finish();
  });
}

struct DatasetCollection::Impl {
  explicit Impl(InputFile&& input) : path(input.path()), file(std::move(input)) {
    naming_file<InputError>(file.path(), [&] {
      const hdf5::StoredGroup root = hdf5::root_of(file.stored());
      own = read_dataset_content(root);
      names = hdf5::link_names(hdf5::open_group(root, hdf5::kMembersGroup));
      for (const std::string& name : names) hdf5::require_printable(name, hdf5::kMembersGroup);
    });
  }

  /// The file with a member, and with those that follow it: they are read in order.
  const InputFile& open(std::size_t member) {
    constexpr std::size_t kTogether = 64;
    if (member < first || member - first >= n_open) {
      file = file.with_members(member, kTogether);
      first = member;
      n_open = kTogether;
    }
    return file;
  }

  const std::filesystem::path path;
  std::mutex reading;
  InputFile file;
  std::size_t first = 0, n_open = 0;
  Dataset own;
  std::vector<std::string> names;
};

DatasetCollection::DatasetCollection(InputFile file) : impl_(std::make_unique<Impl>(std::move(file))) {}
DatasetCollection::~DatasetCollection() = default;
DatasetCollection::DatasetCollection(DatasetCollection&&) noexcept = default;
DatasetCollection& DatasetCollection::operator=(DatasetCollection&&) noexcept = default;

const std::filesystem::path& DatasetCollection::path() const { return impl_->path; }
const Dataset& DatasetCollection::own() const { return impl_->own; }
const std::vector<std::string>& DatasetCollection::names() const { return impl_->names; }

Dataset DatasetCollection::read(const std::string& name, DatasetPart part) const {
  const std::lock_guard guard(impl_->reading);
  const auto place = std::ranges::find(impl_->names, name);
  const InputFile file = impl_->open(static_cast<std::size_t>(place - impl_->names.begin()));
  return naming_file<InputError>(file.path(), [&] {
    const hdf5::StoredGroup members = hdf5::open_group(hdf5::root_of(file.stored()), hdf5::kMembersGroup);
    return read_dataset_content(hdf5::open_group(members, name), part);
  });
}

}  // namespace kvreplay
