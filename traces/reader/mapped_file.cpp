#include "traces/reader/mapped_file.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace kvreplay::hdf5 {
namespace {

// A driver of the library (H5FD) for a file that is memory.

struct Driver {
  H5FD_t common;  // first: the library knows no more of it
  MappedFile* file;
  haddr_t end_of_allocations;
};

Driver& driver_of(H5FD_t* file) { return *reinterpret_cast<Driver*>(file); }
const Driver& driver_of(const H5FD_t* file) { return *reinterpret_cast<const Driver*>(file); }

H5FD_t* open_driver(const char*, unsigned flags, hid_t access, haddr_t) {
  const auto* const file = static_cast<MappedFile* const*>(H5Pget_driver_info(access));
  if (file == nullptr || flags != H5F_ACC_RDONLY) return nullptr;
  return &(new Driver{.common = {}, .file = *file, .end_of_allocations = 0})->common;
}

herr_t close_driver(H5FD_t* file) {
  delete &driver_of(file);
  return 0;
}

herr_t query(const H5FD_t*, unsigned long* flags) {
  if (flags != nullptr) *flags = 0;
  return 0;
}

haddr_t get_end_of_allocations(const H5FD_t* file, H5FD_mem_t) { return driver_of(file).end_of_allocations; }

herr_t set_end_of_allocations(H5FD_t* file, H5FD_mem_t, haddr_t end) {
  driver_of(file).end_of_allocations = end;
  return 0;
}

haddr_t get_end_of_file(const H5FD_t* file, H5FD_mem_t) { return driver_of(file).file->size; }

/// As the library's drivers do: zeros behind the end.
herr_t read(H5FD_t* driver, H5FD_mem_t type, hid_t, haddr_t address, std::size_t size, void* buffer) {
  const MappedFile& file = *driver_of(driver).file;
  if (type == H5FD_MEM_DRAW && file.asked != nullptr) {
    *file.asked = {.address = address, .size = size};
    return 0;
  }
  const std::size_t there = address < file.size ? std::min(size, file.size - static_cast<std::size_t>(address)) : 0;
  if (there > 0) std::memcpy(buffer, static_cast<const char*>(file.bytes) + address, there);
  if (there < size) std::memset(static_cast<char*>(buffer) + there, 0, size - there);
  return 0;
}

herr_t refuse_to_write(H5FD_t*, H5FD_mem_t, hid_t, haddr_t, std::size_t, const void*) { return -1; }

hid_t mapped_driver() {
  static const hid_t driver = [] {
    static H5FD_class_t type{};
#ifdef H5FD_CLASS_VERSION
    type.version = H5FD_CLASS_VERSION;
    type.value = static_cast<H5FD_class_value_t>(500);  // of those that are nobody's
#endif
    type.name = "kvreplay mapped file";
    type.maxaddr = HADDR_MAX;
    type.fc_degree = H5F_CLOSE_WEAK;
    type.fapl_size = sizeof(MappedFile*);
    type.open = open_driver;
    type.close = close_driver;
    type.query = query;
    type.get_eoa = get_end_of_allocations;
    type.set_eoa = set_end_of_allocations;
    type.get_eof = get_end_of_file;
    type.read = read;
    type.write = refuse_to_write;
    constexpr H5FD_mem_t kOne[] = H5FD_FLMAP_SINGLE;
    std::ranges::copy(kOne, type.fl_map);
    return check("set up", -1, "file driver", [] { return H5FDregister(&type); });
  }();
  return driver;
}

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
  MappedFile file{.bytes = nullptr, .size = static_cast<std::size_t>(status.st_size), .asked = nullptr};
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
  MappedFile* const info = &file;
  check("set up", -1, "file access", [&] { return H5Pset_driver(access, mapped_driver(), &info); });
  return File(check("open", -1, "HDF5 file", [&] { return H5Fopen("input", H5F_ACC_RDONLY, access); }));
}

ByteRange place_of_values(MappedFile& file, const std::function<void()>& read) {
  ByteRange place;
  file.asked = &place;
  try {
    read();
  } catch (...) {
    file.asked = nullptr;
    throw;
  }
  file.asked = nullptr;
  return place;
}

}  // namespace kvreplay::hdf5
