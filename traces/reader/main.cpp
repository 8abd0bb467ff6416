// kvreplay-reader: reads the structure of HDF5 files with the HDF5 library, confined, for a process that never does.
// The library was not made for files of strangers: damaged ones crash it, and crafted ones may take it over. Here that
// costs an answer, and nothing else.
//
//   kvreplay-reader N_FILES CPU_SECONDS MEMORY_BYTES [--unconfined]
//
// The files are descriptors 3 to N_FILES + 2. Standard output gets replies: the number of bytes that follow, as eight
// bytes, and these. First 'R': ready. Then for each file, in order, either 'I' and index_bytes(), or 'E' and one line
// about what is wrong, or 'C': this system has no confinement, and --unconfined did not say that it may go without.

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <exception>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include "traces/reader/confinement.h"
#include "traces/reader/describe_file.h"
#include "traces/reader/mapped_file.h"
#include "traces/reader/zstd_filter.h"

namespace {

using namespace kvreplay::hdf5;

void write_all(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = write(STDOUT_FILENO, bytes.data(), bytes.size());
    if (n <= 0) _exit(1);  // nobody reads
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
}

void reply(char kind, std::string_view content) {
  const std::uint64_t size = content.size() + 1;
  write_all({reinterpret_cast<const char*>(&size), sizeof size});
  write_all({&kind, 1});
  write_all(content);
}

void describe(MappedFile& mapped, const Confinement& confinement) try {
  const File file = open_mapped(mapped);
  FileIndex index = describe_file(file);
  index.confinement = confinement;
  reply('I', index_bytes(index));
} catch (const std::bad_alloc&) {
  reply('E', "its structure takes more memory than a file of its size should");
} catch (const std::exception& error) {
  reply('E', error.what());
}

void close_from(int first) {
#ifdef SYS_close_range
  if (syscall(SYS_close_range, first, ~0U, 0) == 0) return;
#endif
  for (int descriptor = first; descriptor < static_cast<int>(sysconf(_SC_OPEN_MAX)); ++descriptor) close(descriptor);
}

int run(int n_files, const ReaderLimits& limits, bool may_be_unconfined) {
  H5open();
  register_zstd();
  reply('R', "");
  std::vector<MappedFile> files;
  std::size_t n_bytes = 0;
  for (int i = 0; i < n_files; ++i) n_bytes += files.emplace_back(map_file(3 + i)).size;
  close_from(3);
  const Confinement confinement = confine({.memory = n_bytes + limits.memory, .cpu_seconds = limits.cpu_seconds});
  for (MappedFile& file : files)
    confinement.system_calls || may_be_unconfined ? describe(file, confinement) : reply('C', "");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    write_all("kvreplay-reader reads files for kvreplay, which calls it.\n");
    return 2;
  }
  try {
    const ReaderLimits limits{.memory = std::strtoull(argv[3], nullptr, 10),
                              .cpu_seconds = std::strtoull(argv[2], nullptr, 10)};
    _exit(run(std::atoi(argv[1]), limits, argc > 4 && std::string_view(argv[4]) == "--unconfined"));
  } catch (const std::exception& error) {
    reply('E', error.what());
    _exit(1);
  }
}
