#pragma once
// What the emulation tells AddressSanitizer and ThreadSanitizer by hand. Its own sources are never instrumented: a
// ThreadSanitizer fiber switched inside instrumented code unbalances the sanitizer's stack of calls. Built with
// KVREPLAY_EMULATION_ASAN or _TSAN; without, all of this is empty.

#include <cstddef>

#ifdef KVREPLAY_EMULATION_ASAN
extern "C" {
void __sanitizer_start_switch_fiber(void** fake_stack, const void* stack, std::size_t size);
void __sanitizer_finish_switch_fiber(void* fake_stack, const void** old_stack, std::size_t* old_size);
void __asan_poison_memory_region(const volatile void* memory, std::size_t n);
void __asan_unpoison_memory_region(const volatile void* memory, std::size_t n);
}
#endif
#ifdef KVREPLAY_EMULATION_TSAN
extern "C" {
void* __tsan_get_current_fiber();
void* __tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void* fiber);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
void __tsan_acquire(void* token);
void __tsan_release(void* token);
void __tsan_ignore_thread_begin();
void __tsan_ignore_thread_end();
void __tsan_read_range(void* memory, std::size_t n);
void __tsan_write_range(void* memory, std::size_t n);
}
#endif

namespace kvreplay::emulation {

#ifdef KVREPLAY_EMULATION_ASAN
/// Any access to the memory is an error from here on.
inline void poison(const void* memory, std::size_t n) { __asan_poison_memory_region(memory, n); }
inline void unpoison(const void* memory, std::size_t n) { __asan_unpoison_memory_region(memory, n); }
#else
inline void poison(const void*, std::size_t) {}
inline void unpoison(const void*, std::size_t) {}
#endif

#ifdef KVREPLAY_EMULATION_TSAN
inline constexpr bool kThreadSanitizer = true;

/// What happened before release(token) happened before what follows acquire(token). Nothing else orders threads here.
inline void acquire(void* token) { __tsan_acquire(token); }
inline void release(void* token) { __tsan_release(token); }

/// A line of execution in ThreadSanitizer's eyes.
inline void* current_line() { return __tsan_get_current_fiber(); }
inline void* new_line() { return __tsan_create_fiber(0); }
inline void end_line(void* line) { __tsan_destroy_fiber(line); }
inline void switch_line(void* line) {
  constexpr unsigned no_synchronisation = 1;
  __tsan_switch_to_fiber(line, no_synchronisation);
}

/// Accesses of code that is not instrumented (BLAS).
inline void note_read(const void* memory, std::size_t n) { __tsan_read_range(const_cast<void*>(memory), n); }
inline void note_write(void* memory, std::size_t n) { __tsan_write_range(memory, n); }

/// Accesses in its scope are the emulation's own and none of ThreadSanitizer's business: its tables are kept by a lock
/// that must not order the program's threads.
class Unseen {
 public:
  Unseen() { __tsan_ignore_thread_begin(); }
  ~Unseen() { __tsan_ignore_thread_end(); }
  Unseen(const Unseen&) = delete;
  Unseen& operator=(const Unseen&) = delete;
};
#else
inline constexpr bool kThreadSanitizer = false;
inline void acquire(void*) {}
inline void release(void*) {}
inline void* current_line() { return nullptr; }
inline void* new_line() { return nullptr; }
inline void end_line(void*) {}
inline void switch_line(void*) {}
inline void note_read(const void*, std::size_t) {}
inline void note_write(void*, std::size_t) {}
struct Unseen {
  Unseen() {}
  ~Unseen() {}
};
#endif

}  // namespace kvreplay::emulation
