#include "tools/replay/control_group.h"

#include <doctest/doctest.h>
#include <sched.h>

#include <fstream>

#include "tests/support/temporary_folder.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

/// A machine's files.
struct Machine {
  void write(const std::string& path, const std::string& text) const {
    const std::filesystem::path file = folder.file(path);
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text << "\n";
  }
  ControlGroups groups() const { return ControlGroups(folder.file("")); }

  TemporaryFolder folder;
};

}  // namespace

TEST_CASE("without control groups, and without limits in them, nothing is limited") {
  const Machine machine;
  CHECK(!machine.groups().memory_left());
  CHECK(!machine.groups().processors());
  machine.write("proc/self/cgroup", "0::/job");
  machine.write("sys/fs/cgroup/job/memory.max", "max");
  machine.write("sys/fs/cgroup/job/memory.current", "1000");
  machine.write("sys/fs/cgroup/job/cpu.max", "max 100000");
  CHECK(!machine.groups().memory_left());
  CHECK(!machine.groups().processors());
}

TEST_CASE("of a job's group and those around it the tightest counts") {
  const Machine machine;
  machine.write("proc/self/cgroup", "0::/slurm/job_7/step_0");
  machine.write("sys/fs/cgroup/slurm/job_7/step_0/memory.max", "max");
  machine.write("sys/fs/cgroup/slurm/job_7/step_0/memory.current", "100");
  machine.write("sys/fs/cgroup/slurm/job_7/memory.max", "5000");
  machine.write("sys/fs/cgroup/slurm/job_7/memory.current", "2000");  // 3000 left
  machine.write("sys/fs/cgroup/slurm/memory.max", "9000");
  machine.write("sys/fs/cgroup/slurm/memory.current", "6500");  // 2500 left
  machine.write("sys/fs/cgroup/slurm/job_7/cpu.max", "150000 100000");
  machine.write("sys/fs/cgroup/slurm/cpu.max", "800000 100000");
  CHECK(machine.groups().memory_left() == 2500);
  CHECK(machine.groups().processors() == 1.5);
  // Another job's group is nobody's business.
  machine.write("sys/fs/cgroup/slurm/job_8/memory.max", "1");
  machine.write("sys/fs/cgroup/slurm/job_8/memory.current", "1");
  CHECK(machine.groups().memory_left() == 2500);
  // More in use than allowed, while the kernel takes back: nothing is left.
  machine.write("sys/fs/cgroup/slurm/memory.current", "9500");
  CHECK(machine.groups().memory_left() == 0);
}

TEST_CASE("a container whose group is called by a name outside of it finds its limits at the mount") {
  const Machine machine;
  machine.write("proc/self/cgroup", "0::/../../docker/abc");
  machine.write("sys/fs/cgroup/memory.max", "4096");
  machine.write("sys/fs/cgroup/memory.current", "96");
  machine.write("sys/fs/cgroup/cpu.max", "50000 100000");
  CHECK(machine.groups().memory_left() == 4000);
  CHECK(machine.groups().processors() == 0.5);
}

TEST_CASE("version 1 of control groups has a folder for each controller, and -1 for no limit") {
  const Machine machine;
  machine.write("proc/self/cgroup", "9:memory:/job\n4:cpu,cpuacct:/job\n1:name=systemd:/other");
  machine.write("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "1000");
  machine.write("sys/fs/cgroup/memory/job/memory.usage_in_bytes", "400");
  machine.write("sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "-1");
  machine.write("sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us", "100000");
  CHECK(machine.groups().memory_left() == 600);
  CHECK(!machine.groups().processors());
  machine.write("sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "250000");
  CHECK(machine.groups().processors() == 2.5);
}

TEST_CASE("threads that are usable are those of the processors that this process may run on") {
  cpu_set_t before;
  REQUIRE(sched_getaffinity(0, sizeof before, &before) == 0);
  const std::size_t all = usable_processors();
  CHECK(all >= 1);
  CHECK(all <= static_cast<std::size_t>(CPU_COUNT(&before)));
  int first = 0;
  while (!CPU_ISSET(first, &before)) ++first;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(first, &one);
  REQUIRE(sched_setaffinity(0, sizeof one, &one) == 0);
  CHECK(usable_processors() == 1);
  REQUIRE(sched_setaffinity(0, sizeof before, &before) == 0);
}
