#pragma once
// Loops over independent work, on the threads that a caller grants. Loops may lie inside loops: threads that a long one
// has no work for help in the others. Nothing that is computed depends on the number of threads: every index writes
// what belongs to it alone, and sums over indices are made afterwards, in order.

#include <cstddef>
#include <functional>
#include <memory>

namespace kvreplay {

/// Calls `work`; all loops below that it comes to share `n_threads` threads, the calling one among them.
void with_threads(std::size_t n_threads, const std::function<void()>& work);

/// Threads that a loop started here could use. Outside with_threads(): as many as the machine has.
std::size_t n_threads_here();

/// Calls work(i) for every i in [0, n), in any order. Of several exceptions, that of the smallest index is thrown,
/// after all that had begun have ended; larger indices may not have been tried.
void parallel_for(std::size_t n, const std::function<void(std::size_t i)>& work);

/// The same, started in ascending order and with no more than `max_at_once` at a time: for work that holds much memory.
/// After an exception nothing more is started.
void parallel_in_order(std::size_t n, std::size_t max_at_once, const std::function<void(std::size_t i)>& work);

/// Something that is made once, by whichever thread wants it first. Others that want it meanwhile help with the loops
/// inside.
class MadeOnce {
 public:
  MadeOnce();
  ~MadeOnce();

  /// What the first make() that did not throw returned.
  const std::shared_ptr<const void>& get(const std::function<std::shared_ptr<const void>()>& make);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace kvreplay
