#include "core/base/matrix.h"

#include <sys/mman.h>

#include <new>

namespace kvreplay {

void* allocate_aligned(std::size_t bytes) {
  constexpr std::size_t kLine = 64, kHugePage = 2 << 20, kLarge = 2 * kHugePage;
  const std::size_t alignment = bytes < kLarge ? kLine : kHugePage;
  const std::size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  void* const memory = rounded < bytes ? nullptr : std::aligned_alloc(alignment, rounded);
  if (memory == nullptr) throw std::bad_alloc();
  if (bytes >= kLarge) madvise(memory, rounded, MADV_HUGEPAGE);  // a wish: the system may have none
  return memory;
}

}  // namespace kvreplay
