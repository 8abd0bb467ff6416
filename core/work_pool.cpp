#include "core/work_pool.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace kvreplay {

void for_each_unit(std::size_t n_units, std::size_t n_threads,
                   const std::function<void(std::size_t, std::size_t)>& work) {
  std::atomic<std::size_t> next = 0;
  std::mutex failure_mutex;
  std::exception_ptr failure;
  {
    std::vector<std::jthread> threads;
    for (std::size_t t = 0; t < std::max<std::size_t>(1, std::min(n_threads, n_units)); ++t)
      threads.emplace_back([&, t] {
        for (std::size_t unit; (unit = next.fetch_add(1)) < n_units;) {
          try {
            work(unit, t);
          } catch (...) {
            const std::lock_guard lock(failure_mutex);
            if (!failure) failure = std::current_exception();
            next = n_units;
          }
        }
      });
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace kvreplay
