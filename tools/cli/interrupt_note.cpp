#include "tools/cli/interrupt_note.h"

#include <signal.h>
#include <unistd.h>

#include <utility>

namespace kvreplay {
namespace {

std::string& text() {
  static std::string note;
  return note;
}

struct sigaction before;

void say(int signal) {
  // Nothing but what a signal handler may call.
  static_cast<void>(!write(STDERR_FILENO, text().data(), text().size()));
  sigaction(signal, &before, nullptr);
  raise(signal);
}

}  // namespace

InterruptNote::InterruptNote(std::string note) {
  text() = "\nkvreplay: " + std::move(note) + "\n";
  struct sigaction action = {};
  action.sa_handler = say;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, nullptr, &before);
  if (before.sa_handler != SIG_IGN) sigaction(SIGINT, &action, nullptr);  // a job in the background stays one
}

InterruptNote::~InterruptNote() {
  if (before.sa_handler != SIG_IGN) sigaction(SIGINT, &before, nullptr);
}

}  // namespace kvreplay
