#include "tests/cuda_emulation/shared_memory.h"

#include <sys/mman.h>

#include <new>
#include <string>

#include "tests/cuda_emulation/fatal.h"
#include "tests/cuda_emulation/sanitizers.h"

namespace kvreplay::emulation {
namespace {

constexpr std::size_t kGapBytes = 64;
// Room for the arrays, the gaps behind them, and a page of tokens.
constexpr std::size_t kArrayBytes = 2 * (kMaxSharedBytes + 1024);
constexpr std::size_t kMappedBytes = kArrayBytes + 4096;
static_assert(sizeof(SyncTokens) <= 4096 && kArrayBytes % 4096 == 0);

char* memory = nullptr;
std::size_t filled = 0;  // bytes from the beginning that this block has been given

void map(void* where) {
  const int fixed = where == nullptr ? 0 : MAP_FIXED;
  void* const mapped = mmap(where, kMappedBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | fixed, -1, 0);
  if (mapped == MAP_FAILED) fatal("no memory for the shared memory of a block");
  memory = static_cast<char*>(mapped);
}

std::size_t aligned(std::size_t n, std::size_t alignment) { return (n + alignment - 1) / alignment * alignment; }

}  // namespace

SyncTokens* begin_shared_memory() {
  if (memory == nullptr) {
    map(nullptr);
  } else if (kThreadSanitizer) {
    // ThreadSanitizer forgets what it knows of an address when it is mapped anew.
    munmap(memory, kMappedBytes);
    map(memory);
  }
  filled = 0;
  return new (memory + kArrayBytes) SyncTokens;
}

void end_shared_memory() { unpoison(memory, filled); }

void* take_shared(std::size_t n_bytes, std::size_t alignment) {
  Thread& thread = current_thread();
  const std::size_t begin = aligned(thread.shared_used, alignment);
  if (begin + n_bytes > block().shared_bytes)
    fatal("arrays of shared memory take " + std::to_string(begin + n_bytes) + " bytes, the launch gave " +
          std::to_string(block().shared_bytes));
  thread.shared_used = begin + n_bytes;

  const std::size_t position = aligned(thread.shared_position, alignment);
  thread.shared_position = aligned(position + n_bytes, 16) + kGapBytes;
  if (thread.shared_position > kArrayBytes) fatal("too many arrays of shared memory");
  // NaN, so that reads of what nobody wrote show. Written one by one past any library, unseen by the sanitizers: the
  // first thread that takes an array must not race with the others.
  for (; filled < thread.shared_position; ++filled) *static_cast<volatile char*>(memory + filled) = '\xff';
  poison(memory + position + n_bytes, thread.shared_position - position - n_bytes);
  return memory + position;
}

}  // namespace kvreplay::emulation
