#include "traces/results/array_file.h"

#include <fmt/format.h>

#include <vector>

#include "core/base/error.h"
#include "traces/hdf5/hdf5.h"
#include "traces/hdf5/hdf5_values.h"
#include "traces/hdf5/new_hdf5_file.h"

namespace kvreplay {

struct ArrayFile::Impl {
  Impl(const std::filesystem::path& path) : file(path, false) {}

  /// Of everything that the path goes through.
  void make_groups(const std::string& path) {
    std::size_t begin = 0;
    for (std::size_t slash; (slash = path.find('/', begin)) != std::string::npos; begin = slash + 1)
      if (const std::string group = path.substr(0, slash); slash > 0 && !hdf5::has_link(file.file(), group))
        hdf5::create_group(file.file(), group);
  }

  void make_way(const std::string& name) {
    make_groups(name);

    // Of a trace or of shards that say two things are one.
    if (hdf5::has_link(file.file(), name))
      throw InputError(fmt::format("{}: expected names that differ, found {} twice", file.path().string(), name));
  }

  void write(const std::string& name, std::span<const std::size_t> shape, const void* values, hid_t type,
             const std::map<std::string, std::string>& attributes) {
    const hdf5::Lock lock;
    const hdf5::File& root = file.file();
    make_way(name);
    const std::vector<hsize_t> dims(shape.begin(), shape.end());
    const hdf5::Space space = hdf5::new_space(dims);
    const hdf5::PropertyList creation = hdf5::dataset_creation();
    std::size_t size = 1;
    for (const std::size_t extent : shape) size *= extent;
    if (size > kWorthCompressing) {
      std::vector<hsize_t> chunk = dims;
      for (std::size_t d = 0; d + 1 < chunk.size(); ++d) chunk[d] = 1;
      hdf5::check("chunk", root, name,
                  [&] { return H5Pset_chunk(creation, static_cast<int>(chunk.size()), chunk.data()); });
      hdf5::compress(creation, 1);
    }
    hdf5::Dataset dataset = hdf5::create_dataset(root, name, type, space, creation);
    if (size > 0)
      hdf5::check("write", root, name, [&] { return H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values); });
    for (const auto& [key, value] : attributes) hdf5::write_attribute(dataset, key, value);
    dataset.close();
  }

  void write(const std::string& name, std::span<const std::string> texts) {
    const hdf5::Lock lock;
    make_way(name);
    hdf5::write_strings(file.file(), name, {texts.begin(), texts.end()}).close();
  }

  static constexpr std::size_t kWorthCompressing = 1024;  // elements

  hdf5::NewHdf5File file;
};

namespace {

// What goes wrong while writing is the machine's fault.
template <typename Call>
auto guarded(const std::filesystem::path& path, Call&& call) try {
  return call();
} catch (const hdf5::Failure& failure) {
  throw SystemError(fmt::format("{}: {}", path.string(), failure.what()));
}

}  // namespace

ArrayFile::ArrayFile(const std::filesystem::path& path, const std::map<std::string, std::string>& attributes)
    : impl_(guarded(path, [&] { return std::make_unique<Impl>(path); })) {
  guarded(path, [&] {
    for (const auto& [key, value] : attributes) hdf5::write_attribute(impl_->file.file(), key, value);
  });
}

ArrayFile::~ArrayFile() {
  if (impl_) impl_->file.discard();
}

void ArrayFile::write(const std::string& name, std::span<const std::size_t> shape, std::span<const float> values,
                      const std::map<std::string, std::string>& attributes) {
  guarded(impl_->file.path(), [&] { impl_->write(name, shape, values.data(), H5T_NATIVE_FLOAT, attributes); });
}

void ArrayFile::write(const std::string& name, std::span<const std::size_t> shape, std::span<const std::uint8_t> values,
                      const std::map<std::string, std::string>& attributes) {
  guarded(impl_->file.path(), [&] { impl_->write(name, shape, values.data(), H5T_NATIVE_UINT8, attributes); });
}

void ArrayFile::write(const std::string& name, std::span<const std::size_t> shape, std::span<const std::int64_t> values,
                      const std::map<std::string, std::string>& attributes) {
  guarded(impl_->file.path(), [&] { impl_->write(name, shape, values.data(), H5T_NATIVE_INT64, attributes); });
}

void ArrayFile::write(const std::string& name, std::span<const std::string> texts) {
  guarded(impl_->file.path(), [&] { impl_->write(name, texts); });
}

void ArrayFile::annotate(const std::string& name, const std::map<std::string, std::string>& attributes) {
  guarded(impl_->file.path(), [&] {
    const hdf5::Lock lock;
    impl_->make_groups(name + "/");
    const hdf5::Group group = hdf5::open_group(impl_->file.file(), name);
    for (const auto& [key, value] : attributes) hdf5::write_attribute(group, key, value);
  });
}

std::unique_ptr<NewFile> ArrayFile::finish() {
  return guarded(impl_->file.path(), [&] { return impl_->file.finish(); });
}

}  // namespace kvreplay
