#include "core/base/parallel.h"

#include <tbb/collaborative_call_once.h>
#include <tbb/global_control.h>
#include <tbb/parallel_for.h>
#include <tbb/parallel_pipeline.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>

namespace kvreplay {
namespace {

// Runs work for single indices and remembers the exception of the smallest one.
class FirstFailure {
 public:
  /// Indices from here on need not be tried.
  std::size_t index() const { return index_.load(std::memory_order_relaxed); }

  template <typename Work>
  void guard(std::size_t i, const Work& work) {
    try {
      work(i);
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (i < index_) {
        index_ = i;
        exception_ = std::current_exception();
      }
    }
  }

  void rethrow() const {
    if (exception_) std::rethrow_exception(exception_);
  }

 private:
  std::atomic<std::size_t> index_ = static_cast<std::size_t>(-1);
  std::mutex mutex_;
  std::exception_ptr exception_;
};

}  // namespace

void with_threads(std::size_t n_threads, const std::function<void()>& work) {
  // Without it, no more threads than the machine has would come, and a warning.
  const tbb::global_control limit(tbb::global_control::max_allowed_parallelism, n_threads);
  tbb::task_arena arena(static_cast<int>(n_threads));
  arena.execute(work);
}

std::size_t n_threads_here() { return static_cast<std::size_t>(tbb::this_task_arena::max_concurrency()); }

void parallel_for(std::size_t n, const std::function<void(std::size_t)>& work) {
  FirstFailure failure;
  if (n <= 1 || n_threads_here() == 1) {
    for (std::size_t i = 0; i < n; ++i) work(i);
    return;
  }
  // Isolated: a thread that waits here must not take up work of the loop around this one meanwhile. It would hold the
  // memory of both, and scratch space of its own that the waiting work still needs.
  tbb::this_task_arena::isolate([&] {
    tbb::parallel_for(
        tbb::blocked_range<std::size_t>(0, n, 1),
        [&](const tbb::blocked_range<std::size_t>& range) {
          for (std::size_t i = range.begin(); i < range.end(); ++i)
            if (i < failure.index()) failure.guard(i, work);
        },
        tbb::simple_partitioner());
  });
  failure.rethrow();
}

void parallel_in_order(std::size_t n, std::size_t max_at_once, const std::function<void(std::size_t)>& work) {
  FirstFailure failure;
  std::size_t next = 0;
  const auto take = [&](tbb::flow_control& control) {
    if (next == n || failure.index() < n) {
      control.stop();
      return n;
    }
    return next++;
  };
  tbb::this_task_arena::isolate([&] {
    tbb::parallel_pipeline(std::max<std::size_t>(1, max_at_once),
                           tbb::make_filter<void, std::size_t>(tbb::filter_mode::serial_in_order, take) &
                               tbb::make_filter<std::size_t, void>(tbb::filter_mode::parallel,
                                                                   [&](std::size_t i) { failure.guard(i, work); }));
  });
  failure.rethrow();
}

struct MadeOnce::State {
  tbb::collaborative_once_flag flag;
  std::shared_ptr<const void> made;
};

MadeOnce::MadeOnce() : state_(std::make_unique<State>()) {}
MadeOnce::~MadeOnce() = default;

const std::shared_ptr<const void>& MadeOnce::get(const std::function<std::shared_ptr<const void>()>& make) {
  tbb::collaborative_call_once(state_->flag, [&] { state_->made = make(); });
  return state_->made;
}

}  // namespace kvreplay
