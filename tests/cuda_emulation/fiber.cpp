#include "tests/cuda_emulation/fiber.h"

#include <sys/mman.h>

#include <cstddef>

#include "tests/cuda_emulation/fatal.h"
#include "tests/cuda_emulation/sanitizers.h"

namespace kvreplay::emulation {
namespace {

namespace context = boost::context::detail;

constexpr std::size_t kStackBytes = 128 << 10;
constexpr std::size_t kPageBytes = 4096;

// Whoever called resume().
struct Resumer {
  context::fcontext_t context = nullptr;
  void* line = nullptr;
  [[maybe_unused]] void* fake_stack = nullptr;
  [[maybe_unused]] const void* stack = nullptr;
  [[maybe_unused]] std::size_t stack_bytes = 0;
};

Resumer resumer;
Fiber* running = nullptr;

}  // namespace

Fiber::Fiber() : line_(new_line()) {
  void* const memory = mmap(nullptr, kStackBytes + kPageBytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) fatal("no memory for the stack of a thread");
  mprotect(memory, kPageBytes, PROT_NONE);
  stack_ = static_cast<char*>(memory) + kPageBytes;
}

void Fiber::start(void (*entry)()) {
  entry_ = entry;
  fake_stack_ = nullptr;
  context_ = context::make_fcontext(stack_ + kStackBytes, kStackBytes, enter);
}

void Fiber::enter(context::transfer_t from) {
  resumer.context = from.fctx;
#ifdef KVREPLAY_EMULATION_ASAN
  __sanitizer_finish_switch_fiber(nullptr, &resumer.stack, &resumer.stack_bytes);
#endif
  running->entry_();
  Fiber::exit();
}

void Fiber::resume() {
  running = this;
  resumer.line = current_line();
#ifdef KVREPLAY_EMULATION_ASAN
  __sanitizer_start_switch_fiber(&resumer.fake_stack, stack_, kStackBytes);
#endif
  switch_line(line_);
  context_ = context::jump_fcontext(context_, nullptr).fctx;
#ifdef KVREPLAY_EMULATION_ASAN
  __sanitizer_finish_switch_fiber(resumer.fake_stack, nullptr, nullptr);
#endif
}

void Fiber::leave() {
  [[maybe_unused]] Fiber* const me = running;
#ifdef KVREPLAY_EMULATION_ASAN
  __sanitizer_start_switch_fiber(&me->fake_stack_, resumer.stack, resumer.stack_bytes);
#endif
  switch_line(resumer.line);
  resumer.context = context::jump_fcontext(resumer.context, nullptr).fctx;
#ifdef KVREPLAY_EMULATION_ASAN
  __sanitizer_finish_switch_fiber(me->fake_stack_, nullptr, nullptr);
#endif
}

void Fiber::exit() {
#ifdef KVREPLAY_EMULATION_ASAN
  __sanitizer_start_switch_fiber(nullptr, resumer.stack, resumer.stack_bytes);  // null: the fiber does not come back
#endif
  switch_line(resumer.line);
  context::jump_fcontext(resumer.context, nullptr);
  __builtin_unreachable();
}

}  // namespace kvreplay::emulation
