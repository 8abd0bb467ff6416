#include "tests/cuda_emulation/settings.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

#include "tests/cuda_emulation/error_injection.h"
#include "tests/cuda_emulation/fatal.h"

namespace kvreplay::emulation {
namespace {

// The value's place in a list of words.
int one_of(const std::string& key, const std::string& value, std::initializer_list<const char*> words) {
  std::string known;
  int i = 0;
  for (const char* word : words) {
    if (value == word) return i;
    known += (i++ > 0 ? ", " : "") + std::string(word);
  }
  fatal("KVREPLAY_EMULATION: " + key + "=" + value + " is none of " + known);
}

std::size_t number(const std::string& key, const std::string& value) {
  char* end = nullptr;
  const unsigned long long n = std::strtoull(value.c_str(), &end, 10);
  if (value.empty() || *end != '\0') fatal("KVREPLAY_EMULATION: " + key + "=" + value + " is no number");
  return n;
}

void set(Settings& settings, const std::string& key, const std::string& value) {
  if (key == "schedule")
    settings.schedule = static_cast<Schedule>(one_of(key, value, {"fwd", "rev", "rand"}));
  else if (key == "streams")
    settings.streams = static_cast<Streams>(one_of(key, value, {"eager", "lazy", "rand"}));
  else if (key == "seed")
    settings.seed = static_cast<std::uint32_t>(number(key, value));
  else if (key == "devices")
    settings.devices = static_cast<int>(number(key, value));
  else if (key == "memory")
    settings.memory = number(key, value) << 20;
  else if (key == "shared")
    settings.shared = number(key, value) << 10;
  else if (key == "guard")
    settings.guard = one_of(key, value, {"off", "on"}) == 1;
  else if (key == "blocks")
    settings.unordered_blocks = one_of(key, value, {"ordered", "unordered"}) == 1;
  else if (key == "exit")
    settings.early_exit = one_of(key, value, {"strict", "early"}) == 1;
  else if (key == "pageable")
    settings.staged_copies = one_of(key, value, {"fatal", "staged"}) == 1;
  else if (key == "fail")
    inject_errors(value);
  else
    fatal("KVREPLAY_EMULATION: no setting is called \"" + key +
          "\"; there are schedule, streams, seed, devices, memory, shared, guard, blocks, exit, pageable, fail");
}

Settings from_environment() {
  Settings settings;
  const char* const variable = std::getenv("KVREPLAY_EMULATION");
  std::string rest = variable == nullptr ? "" : variable;
  while (!rest.empty()) {
    const std::size_t comma = rest.find(',');
    const std::string item = rest.substr(0, comma);
    rest = comma == std::string::npos ? "" : rest.substr(comma + 1);
    const std::size_t equals = item.find('=');
    if (equals == std::string::npos) fatal("KVREPLAY_EMULATION: \"" + item + "\" is not KEY=VALUE");
    set(settings, item.substr(0, equals), item.substr(equals + 1));
  }
  if (settings.seed == 0)
    settings.seed = static_cast<std::uint32_t>(std::chrono::steady_clock::now().time_since_epoch().count()) | 1;
  if (settings.schedule == Schedule::random || settings.streams == Streams::random)
    std::fprintf(stderr, "emulation: seed=%u\n", settings.seed);
  return settings;
}

}  // namespace

Settings& settings() {
  static Settings all = from_environment();
  return all;
}

std::uint32_t random_bits() {  // xorshift32
  static std::uint32_t state = settings().seed * 2654435761u | 1;
  state ^= state << 13;
  state ^= state >> 17;
  return state ^= state << 5;
}

std::size_t random_below(std::size_t n) { return random_bits() % n; }

}  // namespace kvreplay::emulation
