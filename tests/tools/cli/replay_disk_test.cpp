// A full disk ends a replay without a trace of half a file, and costs no finished unit.

#include <doctest/doctest.h>
#include <sys/mount.h>
#include <unistd.h>

#include "tests/tools/cli/program_process.h"
#include "tests/tools/cli/replay_fixture.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

/// A file system in memory, of a size that fills up soon. Only root can make one.
class SmallDisk {
 public:
  explicit SmallDisk(const std::string& kilobytes) {
    mounted_ = mount("kvreplay-test", folder_.file("").c_str(), "tmpfs", 0, ("size=" + kilobytes + "k").c_str()) == 0;
    if (!mounted_) MESSAGE("skipped: no small disk can be mounted here");
  }
  ~SmallDisk() {
    if (mounted_) umount2(folder_.file("").c_str(), MNT_DETACH);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

  explicit operator bool() const { return mounted_; }
  void grow(const std::string& kilobytes) {
    REQUIRE(mount("kvreplay-test", folder_.file("").c_str(), "tmpfs", MS_REMOUNT,
                  ("size=" + kilobytes + "k").c_str()) == 0);
  }
  std::string file(const std::string& name) const { return folder_.file(name); }
  std::size_t n_files() const { return folder_.n_files(); }

 private:
  TemporaryFolder folder_;
  bool mounted_ = false;
};

/// A replay in a process of its own: HDF5 keeps handles of a file that it could not close, and stumbles over them
/// later.
ProgramRun replay_apart(std::vector<std::string> args) {
  const TemporaryFolder folder;
  args.insert(args.begin(), "replay");
  const int exit_code = ProgramProcess(args, folder.file("messages")).wait();
  return {.exit_code = exit_code, .out = "", .err = content_of(folder.file("messages"))};
}

/// All that decides how large units and results are, so that the disks fit them also when the program learns more
/// policies.
std::vector<std::string> fixed_replay(const std::string& trace, const std::string& results) {
  return {trace, "-p",   "knorm,tova,keydiff,random,oracle,snapkv", "-m", "output_error,attention_recall,kept_fraction",
          "-o",  results};
}

/// Files with this ending below the results' folder of units.
std::size_t n_with_ending(const std::string& results, const std::string& ending) {
  std::size_t n = 0;
  for (const auto& entry : std::filesystem::directory_iterator(results + ".units"))
    n += entry.path().string().ends_with(ending);
  return n;
}

}  // namespace

TEST_CASE("a disk too small for a single unit leaves nothing behind") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder);
  for (const std::size_t room : {0, 4, 16}) {  // kB: not even for the options, or for those alone
    const SmallDisk disk("32");
    if (!disk) return;
    std::ofstream(disk.file("filler")) << std::string((32 - room) * 1024, 'x');
    const ProgramRun failed = replay_apart({trace, "-p", "knorm,snapkv", "-o", disk.file("r.h5")});
    CHECK(failed.exit_code == 1);
    CHECK(contains(failed.err, "No space left on device"));
    CHECK(std::count(failed.err.begin(), failed.err.end(), '\n') == 1);
    CHECK(disk.n_files() == 1);  // the filler
  }
}

TEST_CASE("a disk that fills up half-way keeps the finished units, and the same command goes on when there is room") {
  const TemporaryFolder folder;
  SyntheticTraceOptions options = small_trace();
  options.n_layers = 6;
  const std::string trace = write_trace(folder, "t.h5", options), whole = folder.file("whole.h5");
  REQUIRE(replay(fixed_replay(trace, whole)).exit_code == 0);
  SmallDisk disk("150");  // twelve units of 20 kB do not fit
  if (!disk) return;
  const std::string results = disk.file("r.h5");
  const ProgramRun failed = replay_apart(fixed_replay(trace, results));
  CHECK(failed.exit_code == 1);
  CHECK(contains(failed.err, "No space left on device"));
  CHECK(contains(failed.err, "finished units are kept in " + results + ".units: the same command goes on from there"));
  CHECK(disk.n_files() == 1);  // the folder of units
  CHECK(n_with_ending(results, ".tmp") == 0);
  const std::size_t n_done = n_with_ending(results, ".h5");
  CHECK(n_done > 0);
  CHECK(n_done < 12);

  disk.grow("8000");
  const ProgramRun resumed = replay(fixed_replay(trace, results));
  CHECK(resumed.exit_code == 0);
  CHECK(contains(resumed.err, "taking up an interrupted replay: " + std::to_string(n_done) + " of 12 units are done"));
  CHECK(content_of(results) == content_of(whole));
  CHECK(disk.n_files() == 1);  // the results
}

TEST_CASE("outputs appear together: where the results find no room, nothing stands in the way of the same command") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder), whole = folder.file("whole.h5");
  const auto command = [&](const std::string& results, const std::string& sets) {
    std::vector<std::string> args = fixed_replay(trace, results);
    args.insert(args.end(), {"--save-retained", sets});
    return args;
  };
  REQUIRE(replay(command(whole, whole + ".sets")).exit_code == 0);
  SmallDisk disk("360");  // room for all four units of 80 kB, not for the results, which take as much
  if (!disk) return;
  const std::string results = disk.file("r.h5"), sets = folder.file("sets.h5");
  CHECK(replay_apart(command(results, sets)).exit_code == 1);
  CHECK(n_with_ending(results, ".h5") == 4);
  CHECK(!std::filesystem::exists(results));
  CHECK(!std::filesystem::exists(sets));  // it had room and was written first

  disk.grow("8000");
  CHECK(replay(command(results, sets)).exit_code == 0);
  CHECK(content_of(results) == content_of(whole));
  CHECK(content_of(sets) == content_of(whole + ".sets"));
}
