#include "traces/reader/mapped_file.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace kvreplay::hdf5 {
namespace {

// The core driver asks for memory and copies the file into it. It gets the mapping, which holds the file already.
void* give_mapping(std::size_t, H5FD_file_image_op_t, void* file) { return static_cast<MappedFile*>(file)->bytes; }
void* copy_nothing(void* to, const void*, std::size_t, H5FD_file_image_op_t, void*) { return to; }
void* never_grow(void*, std::size_t, H5FD_file_image_op_t, void*) { return nullptr; }
herr_t keep_mapping(void*, H5FD_file_image_op_t, void*) { return 0; }
void* same_file(void* file) { return file; }
herr_t keep_file(void*) { return 0; }

/// At the beginning, or behind a user block of 512, 1024, 2048, ... bytes.
bool has_signature(const MappedFile& file) {
  constexpr std::array<unsigned char, 8> kSignature = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
  for (std::size_t at = 0; at + kSignature.size() <= file.size; at = at == 0 ? 512 : 2 * at)
    if (std::memcmp(static_cast<const char*>(file.bytes) + at, kSignature.data(), kSignature.size()) == 0) return true;
  return false;
}

}  // namespace

MappedFile map_file(int descriptor) {
  struct stat status;
  if (fstat(descriptor, &status) != 0) throw Failure(fmt::format("cannot open: {}", std::strerror(errno)));
  MappedFile file{.bytes = nullptr, .size = static_cast<std::size_t>(status.st_size)};
  if (file.size > 0) {
    file.bytes = mmap(nullptr, file.size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (file.bytes == MAP_FAILED) throw Failure(fmt::format("cannot map: {}", std::strerror(errno)));
  }
  close(descriptor);
  return file;
}

File open_mapped(MappedFile& file) {
  if (!has_signature(file)) throw Violation("expected an HDF5 file, found something else");
  const PropertyList access = new_properties(H5P_FILE_ACCESS);
  const H5FD_file_image_callbacks_t callbacks = {give_mapping, copy_nothing, never_grow, keep_mapping,
                                                 same_file,    keep_file,    &file};
  const auto set_up = [](auto&& call) { check("set up", -1, "file access", call); };
  set_up([&] { return H5Pset_fapl_core(access, 64 << 10, false); });
  set_up([&] { return H5Pset_file_image_callbacks(access, const_cast<H5FD_file_image_callbacks_t*>(&callbacks)); });
  set_up([&] { return H5Pset_file_image(access, file.bytes, file.size); });
  set_up([&] { return H5Pset_file_locking(access, false, true); });
  return File(check("open", -1, "HDF5 file", [&] { return H5Fopen("input", H5F_ACC_RDONLY, access); }));
}

}  // namespace kvreplay::hdf5
