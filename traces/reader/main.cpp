// kvreplay-reader: reads the structure of HDF5 files with the HDF5 library, confined, for a process that never does.
// The library was not made for files of strangers: damaged ones crash it, and crafted ones may take it over. Here that
// costs an answer, and nothing else.
//
//   kvreplay-reader N_FILES CPU_SECONDS MEMORY_BYTES REPLY_BYTES FIRST_MEMBER N_MEMBERS CONFINED
//
// The files are descriptors 3 to N_FILES + 2. Standard output gets replies: the number of bytes that follow, as eight
// bytes, and these. First, before anything of a file is looked at, 'R', then '1' or '0' for each way of confinement
// that the system granted (seccomp, Landlock), then the version; or 'F' and one line about why it cannot start. Where
// CONFINED is 1 and there is no seccomp, that is all. Then for each file, in order, either 'I' and index_bytes(), or
// 'E' and one line about what is wrong with it. REPLY_BYTES bounds one reply.

#include <fcntl.h>
#include <fmt/format.h>
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

struct Task {
  std::uint64_t n_files = 0, cpu_seconds = 0, memory = 0, reply_bytes = 0;
  MemberRange members;
  bool confined = true;
};

Task parse_task(char** words) {
  const auto number = [&](int i) { return std::strtoull(words[i], nullptr, 10); };
  return {.n_files = number(1),
          .cpu_seconds = number(2),
          .memory = number(3),
          .reply_bytes = number(4),
          .members = {.first = number(5), .count = number(6)},
          .confined = number(7) != 0};
}

void describe(MappedFile& file, const Task& task) try {
  reply('I', index_bytes(describe_file(file, task.members, task.reply_bytes)));
} catch (const std::bad_alloc&) {
  reply('E', "its structure takes more memory than that of a file of its size should, or than there is");
} catch (const std::exception& error) {
  reply('E', error.what());
}

void close_from(int first) {
#ifdef SYS_close_range
  if (syscall(SYS_close_range, first, ~0U, 0) == 0) return;
#endif
  for (int descriptor = first; descriptor < static_cast<int>(sysconf(_SC_OPEN_MAX)); ++descriptor) close(descriptor);
}

std::string greeting(const Confinement& by) {
  return fmt::format("{:d}{:d}{}", by.system_calls, by.files, KVREPLAY_VERSION);
}

int run(const Task& task) {
  H5open();
  register_zstd();
  std::vector<MappedFile> files;
  std::size_t n_bytes = 0;
  for (std::uint64_t i = 0; i < task.n_files; ++i)
    n_bytes += files.emplace_back(map_file(3 + static_cast<int>(i))).size;
  close_from(3);
  const Confinement by = confine({.memory = n_bytes + task.memory, .cpu_seconds = task.cpu_seconds});
  reply('R', greeting(by));
  if (task.confined && !by.system_calls) return 0;
  for (MappedFile& file : files) describe(file, task);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 8) {
    write_all("kvreplay-reader reads files for kvreplay, which calls it.\n");
    return 2;
  }
  try {
    _exit(run(parse_task(argv)));
  } catch (const std::exception& error) {
    reply('F', error.what());
    _exit(1);
  }
}
