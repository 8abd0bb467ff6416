#include "tests/cuda_emulation/error_injection.h"

#include <array>
#include <cstdlib>

#include "tests/cuda_emulation/api_call.h"
#include "tests/cuda_emulation/fatal.h"

namespace kvreplay::emulation {
namespace {

constexpr std::array kNames{"allocation", "launch", "copy", "stream", "wait", "library"};

struct Calls {
  std::size_t made = 0;
  std::size_t failing = 0;  // number of the call that fails; 0: none
};

std::array<Calls, kNames.size()> calls;

Calls& of(Call call) { return calls[static_cast<std::size_t>(call)]; }

}  // namespace

void inject_error(Call call, std::size_t n) { of(call).failing = of(call).made + n; }

void inject_errors(const std::string& text) {
  const std::size_t colon = text.find(':');
  const std::string name = text.substr(0, colon);
  const long n = colon == std::string::npos ? 0 : std::atol(text.c_str() + colon + 1);
  std::string known;
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (name == kNames[i] && n > 0) return inject_error(static_cast<Call>(i), static_cast<std::size_t>(n));
    known += std::string(i > 0 ? ", " : "") + kNames[i];
  }
  fatal("KVREPLAY_EMULATION: fail=" + text + " is not KIND:N with N >= 1 and KIND one of " + known);
}

void clear_injected_errors() {
  for (Calls& kind : calls) kind.failing = 0;
  clear_lasting_error();
}

std::size_t n_calls(Call call) { return of(call).made; }

bool fails(Call call) {
  Calls& kind = of(call);
  return ++kind.made == kind.failing;
}

}  // namespace kvreplay::emulation
