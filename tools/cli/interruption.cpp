#include "tools/cli/interruption.h"

#include <signal.h>

#include <array>
#include <atomic>
#include <cstdlib>

namespace kvreplay {
namespace {

constexpr std::array kSignals{SIGINT, SIGTERM};
std::array<struct sigaction, kSignals.size()> before;
std::atomic<int> came = 0;

void note(int signal) { came = signal; }

}  // namespace

Interruption::Interruption() {
  came = 0;
  struct sigaction action = {};
  action.sa_handler = note;
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  sigemptyset(&action.sa_mask);
  for (std::size_t i = 0; i < kSignals.size(); ++i) {
    sigaction(kSignals[i], nullptr, &before[i]);
    if (before[i].sa_handler != SIG_IGN) sigaction(kSignals[i], &action, nullptr);  // a job in the background stays one
  }
}

Interruption::~Interruption() {
  for (std::size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &before[i], nullptr);
}

void Interruption::check() {
  if (came != 0) throw Interrupted();
}

void Interruption::end() {
  raise(came);
  std::abort();  // somebody else handles that signal and went on
}

}  // namespace kvreplay
