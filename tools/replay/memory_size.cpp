#include "tools/replay/memory_size.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <limits>

#include "core/base/error.h"
#include "tools/replay/control_group.h"
#include "tools/replay/number_file.h"

namespace kvreplay {
namespace {

struct Unit {
  const char* name;
  double bytes;
};
constexpr double kKibi = 1024;
constexpr Unit kUnits[] = {{"", 1},
                           {"b", 1},
                           {"kb", 1e3},
                           {"mb", 1e6},
                           {"gb", 1e9},
                           {"tb", 1e12},
                           {"k", kKibi},
                           {"m", kKibi* kKibi},
                           {"g", kKibi* kKibi* kKibi},
                           {"t", kKibi* kKibi* kKibi* kKibi},
                           {"kib", kKibi},
                           {"mib", kKibi* kKibi},
                           {"gib", kKibi* kKibi* kKibi},
                           {"tib", kKibi* kKibi* kKibi* kKibi}};

std::size_t available_in_machine() {
  std::ifstream stream("/proc/meminfo");
  for (std::string name; stream >> name;) {
    std::size_t kibibytes = 0;
    if (name == "MemAvailable:" && stream >> kibibytes) return kibibytes << 10;
    stream.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return 0;
}

}  // namespace

std::size_t parse_memory(const std::string& option, const std::string& text) {
  const auto refuse = [&] {
    throw UsageError(fmt::format("option '--{}' takes a size such as 800MB or 4GiB, not '{}'", option, text));
  };
  double amount = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, amount);
  if (error != std::errc() || !std::isfinite(amount) || amount < 0) refuse();
  std::string unit(stop, end);
  std::erase(unit, ' ');
  std::ranges::transform(unit, unit.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const auto known = std::ranges::find_if(kUnits, [&](const Unit& each) { return unit == each.name; });
  if (known == std::end(kUnits)) refuse();
  const double bytes = std::floor(amount * known->bytes);
  if (bytes < 1 || bytes >= 0x1p63) refuse();
  return static_cast<std::size_t>(bytes);
}

std::string memory_text(double bytes) {
  constexpr const char* kNames[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
  std::size_t unit = 0;
  for (; bytes >= 999.5 && unit + 1 < std::size(kNames); ++unit) bytes /= kKibi;
  return fmt::format("{:.{}f} {}", bytes, unit == 0 || bytes >= 9.95 ? 0 : 1, kNames[unit]);
}

std::size_t available_memory() {
  const std::size_t machine = available_in_machine();
  const auto group = ControlGroups().memory_left();
  return group && (machine == 0 || *group < machine) ? *group : machine;
}

std::optional<std::size_t> address_space_left() {
  rlimit limit{};
  if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return std::nullopt;
  const std::size_t used = number_in("/proc/self/statm").value_or(0) * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return limit.rlim_cur > used ? limit.rlim_cur - used : 0;
}

std::size_t allowed_memory(const std::string& text) {
  constexpr double kPartOfAvailable = 0.9;
  if (!text.empty()) return parse_memory("memory", text);
  return static_cast<std::size_t>(kPartOfAvailable * static_cast<double>(available_memory()));
}

}  // namespace kvreplay
