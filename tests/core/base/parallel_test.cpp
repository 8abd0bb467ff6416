#include "core/base/parallel.h"

#include <doctest/doctest.h>

#include <atomic>
#include <stdexcept>
#include <string>
#include <vector>

namespace kvreplay {
namespace {

TEST_CASE("parallel: every index once, whatever the number of threads, loops within loops") {
  for (const std::size_t n_threads : {1, 2, 5}) {
    std::vector<std::atomic<int>> calls(7 * 11);
    with_threads(n_threads, [&] {
      CHECK(n_threads_here() == n_threads);
      parallel_for(7, [&](std::size_t i) { parallel_for(11, [&](std::size_t j) { ++calls[i * 11 + j]; }); });
    });
    for (const auto& n : calls) CHECK(n == 1);
  }
  parallel_for(0, [](std::size_t) { FAIL("nothing to call"); });
}

TEST_CASE("parallel: of several exceptions that of the smallest index") {
  with_threads(4, [] {
    for (int repeat = 0; repeat < 20; ++repeat) {
      std::string what;
      try {
        parallel_for(50, [](std::size_t i) {
          if (i == 7 || i == 8 || i == 40) throw std::runtime_error(std::to_string(i));
        });
      } catch (const std::runtime_error& error) {
        what = error.what();
      }
      CHECK(what == "7");
    }
  });
}

TEST_CASE("parallel: in order, never more at once than asked for, loops inside included") {
  for (const std::size_t max_at_once : {1, 2, 3}) {
    std::atomic<std::size_t> now = 0, most = 0, inner = 0;
    std::vector<std::size_t> started(9, 0);
    std::atomic<std::size_t> order = 0;
    with_threads(4, [&] {
      parallel_in_order(9, max_at_once, [&](std::size_t i) {
        started[i] = order++;
        const std::size_t at_once = ++now;
        for (std::size_t seen = most; seen < at_once && !most.compare_exchange_weak(seen, at_once);) continue;
        parallel_for(20, [&](std::size_t) { ++inner; });
        --now;
      });
    });
    CHECK(inner == 9 * 20);
    CHECK(most >= 1);
    CHECK(most <= max_at_once);
    if (max_at_once == 1)
      for (std::size_t i = 0; i < started.size(); ++i) CHECK(started[i] == i);
  }
}

TEST_CASE("parallel: in order, nothing is started after an exception") {
  std::atomic<std::size_t> calls = 0;
  const auto run = [&] {
    parallel_in_order(100, 1, [&](std::size_t i) {
      ++calls;
      if (i == 3) throw std::runtime_error("stop");
    });
  };
  CHECK_THROWS_WITH(with_threads(3, run), "stop");
  CHECK(calls == 4);
}

}  // namespace
}  // namespace kvreplay
