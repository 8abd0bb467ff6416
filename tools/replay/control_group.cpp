#include "tools/replay/control_group.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <thread>

#include "tools/replay/number_file.h"

namespace kvreplay {
namespace {

namespace fs = std::filesystem;

bool has(const std::string& list, const std::string& name) {
  return ("," + list + ",").find("," + name + ",") != std::string::npos;
}

template <typename Number>
void keep_least(std::optional<Number>& least, Number number) {
  least = least ? std::min(*least, number) : number;
}

}  // namespace

ControlGroups::ControlGroups(fs::path root) : mount_(root / "sys/fs/cgroup") {
  // "0::/user.slice/job_7" of version 2, "4:cpu,cpuacct:/slurm/job_7" of version 1.
  std::ifstream stream(root / "proc/self/cgroup");
  for (std::string line; std::getline(stream, line);) {
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    groups_.push_back({line.substr(first + 1, second - first - 1), line.substr(second + 1)});
  }
}

std::vector<fs::path> ControlGroups::folders(const std::string& controller) const {
  std::vector<fs::path> found;
  for (const Group& group : groups_) {
    if (controller.empty() ? !group.controllers.empty() : !has(group.controllers, controller)) continue;
    const fs::path mount = controller.empty()                       ? mount_
                           : fs::exists(mount_ / group.controllers) ? mount_ / group.controllers
                                                                    : mount_ / controller;
    // A container may see another place than the one that it is called by: then its own group is the mount.
    for (fs::path path = fs::path(group.path).relative_path(); !path.empty(); path = path.parent_path())
      if (path.native().find("..") == std::string::npos) found.push_back(mount / path);
    found.push_back(mount);
  }
  return found;
}

std::optional<std::size_t> ControlGroups::memory_left() const {
  std::optional<std::size_t> least;
  const auto look = [&](const fs::path& folder, const char* limit_file, const char* usage_file) {
    const auto limit = number_in(folder / limit_file), usage = number_in(folder / usage_file);
    if (limit && usage) keep_least(least, *limit > *usage ? *limit - *usage : 0);
  };
  for (const fs::path& folder : folders("")) look(folder, "memory.max", "memory.current");
  for (const fs::path& folder : folders("memory")) look(folder, "memory.limit_in_bytes", "memory.usage_in_bytes");
  return least;
}

std::optional<double> ControlGroups::processors() const {
  std::optional<double> least;
  for (const fs::path& folder : folders("")) {
    std::ifstream stream(folder / "cpu.max");
    double quota = 0, period = 0;
    if (stream >> quota >> period && quota > 0 && period > 0) keep_least(least, quota / period);
  }
  for (const fs::path& folder : folders("cpu")) {
    const auto quota = number_in(folder / "cpu.cfs_quota_us"), period = number_in(folder / "cpu.cfs_period_us");
    // No limit is -1, which a size cannot hold.
    if (quota && period && *quota > 0 && *period > 0 && *quota < std::size_t{1} << 62)
      keep_least(least, static_cast<double>(*quota) / static_cast<double>(*period));
  }
  return least;
}

std::size_t usable_processors() {
  std::size_t n = std::max(1u, std::thread::hardware_concurrency());
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) n = std::max(1, CPU_COUNT(&allowed));
  if (const auto limit = ControlGroups().processors())
    n = std::min(n, static_cast<std::size_t>(std::max(1.0, std::ceil(*limit))));
  return n;
}

}  // namespace kvreplay
