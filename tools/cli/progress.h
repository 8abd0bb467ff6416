#pragma once
// A line on a terminal that says how far the work is and how long it will take.

#include <chrono>
#include <cstddef>
#include <mutex>
#include <ostream>
#include <string>

namespace kvreplay {

/// Rewrites one line per finished unit; silent unless enabled. Safe to use from several threads.
class Progress {
 public:
  Progress(std::ostream& out, bool enabled, std::string title, std::size_t n_units);
  ~Progress();

  void finish_unit();

 private:
  std::ostream& out_;
  bool enabled_;
  std::string title_;
  std::size_t n_units_, n_done_ = 0;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::mutex mutex_;
};

/// "850 ms", "12 s", "3 min 20 s", "2 h 5 min"
std::string duration_text(double seconds);

}  // namespace kvreplay
