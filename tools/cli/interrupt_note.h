#pragma once
// What Ctrl-C says before it ends the program.

#include <string>

namespace kvreplay {

/// While it lives, SIGINT writes the note to standard error and ends the program as it would have without. One at a
/// time.
class InterruptNote {
 public:
  explicit InterruptNote(std::string note);
  ~InterruptNote();
  InterruptNote(const InterruptNote&) = delete;
  InterruptNote& operator=(const InterruptNote&) = delete;
};

}  // namespace kvreplay
