#pragma once
// Scratch space for work that runs on several threads at once: as many objects as are in use at a time, kept for reuse.

#include <memory>
#include <mutex>
#include <vector>

namespace kvreplay {

template <typename T>
class ScratchPool {
 public:
  /// Calls work(T&) with an object that nobody else holds; what the last user left in it is still there.
  template <typename Work>
  void with(const Work& work) {
    std::unique_ptr<T> scratch = take();
    work(*scratch);
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(scratch));
  }

 private:
  std::unique_ptr<T> take() {
    const std::lock_guard lock(mutex_);
    if (idle_.empty()) return std::make_unique<T>();
    std::unique_ptr<T> scratch = std::move(idle_.back());
    idle_.pop_back();
    return scratch;
  }

  std::mutex mutex_;
  std::vector<std::unique_ptr<T>> idle_;
};

}  // namespace kvreplay
