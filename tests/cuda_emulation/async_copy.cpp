#include "tests/cuda_emulation/async_copy.h"

#include <deque>
#include <vector>

#include "tests/cuda_emulation/sanitizers.h"
#include "tests/cuda_emulation/thread_block.h"

namespace kvreplay::emulation {
namespace {

struct ThreadCopies {
  std::size_t block = 0;                      // whose thread it was
  std::vector<AsyncCopy> open;                // not committed
  std::deque<std::vector<AsyncCopy>> groups;  // oldest first
};

std::vector<ThreadCopies> copies(1024);  // by rank

ThreadCopies& own_copies() {
  ThreadCopies& own = copies[current_thread().rank];
  if (own.block != block().number) own = {block().number, {}, {}};
  return own;
}

}  // namespace

void begin_async_copy(const AsyncCopy& copy) {
  const Unseen unseen;
  own_copies().open.push_back(copy);
}

void commit_async_copies() {
  const Unseen unseen;
  ThreadCopies& own = own_copies();
  own.groups.push_back(std::move(own.open));
  own.open.clear();
}

bool take_awaited_copy(std::size_t n_pending, AsyncCopy& copy) {
  const Unseen unseen;
  std::deque<std::vector<AsyncCopy>>& groups = own_copies().groups;
  while (groups.size() > n_pending && groups.front().empty()) groups.pop_front();
  if (groups.size() <= n_pending) return false;
  copy = groups.front().back();
  groups.front().pop_back();
  return true;
}

}  // namespace kvreplay::emulation
