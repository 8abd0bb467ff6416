// The loops of core/base/parallel.h on plain threads, for programs under ThreadSanitizer. The product's are TBB's,
// whose library is not instrumented: what its atomics order would look like races. Linked before kvreplay_core it takes
// the place of core/base/parallel.cpp.

#include <algorithm>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "core/base/parallel.h"

namespace kvreplay {
namespace {

thread_local std::size_t n_granted = 0;  // 0: as many as the machine has

// Hands out indices in ascending order, and keeps the exception of the smallest.
class Indices {
 public:
  explicit Indices(std::size_t n) : n_(n) {}

  /// n when there is no more to do.
  std::size_t take() {
    const std::lock_guard lock(mutex_);
    return exception_ || next_ == n_ ? n_ : next_++;
  }

  void failed(std::size_t i, std::exception_ptr exception) {
    const std::lock_guard lock(mutex_);
    if (exception_ && i > failed_) return;
    failed_ = i;
    exception_ = std::move(exception);
  }

  void rethrow() const {
    if (exception_) std::rethrow_exception(exception_);
  }

 private:
  std::mutex mutex_;
  std::size_t n_;
  std::size_t next_ = 0;
  std::size_t failed_ = 0;
  std::exception_ptr exception_;
};

// Calls `work` with that many threads granted.
template <typename Work>
void granted(std::size_t n, const Work& work) {
  const std::size_t before = std::exchange(n_granted, n);
  try {
    work();
  } catch (...) {
    n_granted = before;
    throw;
  }
  n_granted = before;
}

void loop(std::size_t n, std::size_t n_threads, const std::function<void(std::size_t)>& work) {
  Indices indices(n);
  const auto run = [&](std::size_t n_inside) {
    granted(n_inside, [&] {
      for (std::size_t i = indices.take(); i < n; i = indices.take()) try {
          work(i);
        } catch (...) {
          indices.failed(i, std::current_exception());
        }
    });
  };
  if (n_threads <= 1) {
    run(n_granted);
  } else {
    std::vector<std::thread> others;
    for (std::size_t t = 1; t < n_threads; ++t) others.emplace_back(run, 1);
    run(1);
    for (std::thread& other : others) other.join();
  }
  indices.rethrow();
}

}  // namespace

void with_threads(std::size_t n_threads, const std::function<void()>& work) { granted(n_threads, work); }

std::size_t n_threads_here() {
  return n_granted != 0 ? n_granted : std::max<std::size_t>(1, std::thread::hardware_concurrency());
}

void parallel_for(std::size_t n, const std::function<void(std::size_t)>& work) {
  loop(n, std::min(n, n_threads_here()), work);
}

void parallel_in_order(std::size_t n, std::size_t max_at_once, const std::function<void(std::size_t)>& work) {
  loop(n, std::min({n, n_threads_here(), max_at_once}), work);
}

struct MadeOnce::State {
  std::mutex mutex;
  std::shared_ptr<const void> made;
};

MadeOnce::MadeOnce() : state_(std::make_unique<State>()) {}
MadeOnce::~MadeOnce() = default;

const std::shared_ptr<const void>& MadeOnce::get(const std::function<std::shared_ptr<const void>()>& make) {
  const std::lock_guard lock(state_->mutex);
  if (!state_->made) state_->made = make();
  return state_->made;
}

}  // namespace kvreplay
