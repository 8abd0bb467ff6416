#pragma once
// Scratch space for work that runs on several threads at once: as many objects as are in use at a time, kept for reuse.

#include <mutex>
#include <utility>
#include <vector>

namespace kvreplay {

template <typename T>
class ScratchPool {
 public:
  /// Calls work(T&) with an object that nobody else holds; what the last user left in it is still there.
  template <typename Work>
  void with(const Work& work) {
    T scratch = take();
    work(scratch);
    give(std::move(scratch));
  }

  /// One that was given back, or a new one.
  T take() {
    const std::lock_guard lock(mutex_);
    if (idle_.empty()) return T();
    T scratch = std::move(idle_.back());
    idle_.pop_back();
    return scratch;
  }

  void give(T scratch) {
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(scratch));
  }

 private:
  std::mutex mutex_;
  std::vector<T> idle_;
};

}  // namespace kvreplay
