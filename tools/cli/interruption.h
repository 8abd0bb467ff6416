#pragma once
// Ctrl-C as an exception, for work that has something to put away before it ends.

#include <stdexcept>

namespace kvreplay {

class Interrupted : public std::runtime_error {
 public:
  Interrupted() : std::runtime_error("interrupted") {}
};

/// While it lives, SIGINT and SIGTERM are noted, the first of each; a second one ends the program as ever. One at a
/// time.
class Interruption {
 public:
  Interruption();
  ~Interruption();
  Interruption(const Interruption&) = delete;
  Interruption& operator=(const Interruption&) = delete;

  /// Throws Interrupted once a signal has come. Safe to call from several threads.
  static void check();
  /// Ends the program by the signal that has come, when everything is put away.
  [[noreturn]] static void end();
};

}  // namespace kvreplay
