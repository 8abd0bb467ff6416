#pragma once
// Code that can stop in the middle and go on later: what a CUDA thread runs on.

#include <boost/context/detail/fcontext.hpp>

namespace kvreplay::emulation {

/// A stack of 128 KiB with a closed page below it, and a line of execution for ThreadSanitizer. Both are reused.
class Fiber {
 public:
  Fiber();

  /// The next resume() calls entry on an empty stack.
  void start(void (*entry)());

  /// Goes on with the fiber until it calls leave() or exit(). Not to be called from a fiber.
  void resume();

  /// Stops the fiber that runs; returns at its next resume().
  static void leave();

  /// Ends the fiber that runs, for good until its next start().
  [[noreturn]] static void exit();

 private:
  static void enter(boost::context::detail::transfer_t from);

  char* stack_;
  void* line_;
  void (*entry_)() = nullptr;
  boost::context::detail::fcontext_t context_ = nullptr;
  [[maybe_unused]] void* fake_stack_ = nullptr;  // AddressSanitizer's
};

}  // namespace kvreplay::emulation
