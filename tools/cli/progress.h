#pragma once
// Says how far the work is and how long it will take, from the first second on.

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <ostream>
#include <string>
#include <thread>

namespace kvreplay {

/// Where progress goes.
enum class ProgressForm {
  none,   ///< nowhere
  line,   ///< one line that is written again and again: a terminal
  lines,  ///< a line now and then: a log
};

/// A terminal's line for standard error on a terminal, lines for standard error elsewhere, nothing for other streams.
ProgressForm progress_form(const std::ostream& out, bool quiet);

/// Says it from a thread of its own until it is destroyed; then the line of a terminal is wiped.
class Progress {
 public:
  /// \param title   what is done: "replay"
  /// \param total   work, in any unit
  /// \param amount  the total in words: "77.9 GFLOP"
  /// \param period  between two messages; 0: half a second on a terminal, elsewhere half a minute, or
  ///                what KVREPLAY_PROGRESS_MS says: the Python package asks for more
  Progress(std::ostream& out, ProgressForm form, std::string title, double total, std::string amount,
           std::chrono::milliseconds period = {});
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// So much of the total is done. Safe to call from several threads.
  void advance(double work);
  /// Writes a line of its own to `out`, whatever form progress has. Safe to call from several threads.
  void note(std::ostream& out, const std::string& text);

 private:
  void run();
  std::string message() const;

  std::ostream& out_;
  ProgressForm form_;
  std::string title_, amount_;
  double total_, done_ = 0;
  std::chrono::milliseconds period_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::mutex mutex_;
  std::condition_variable stopped_;
  bool stop_ = false;
  std::thread thread_;
};

/// "850 ms", "12 s", "3 min 20 s", "2 h 5 min"
std::string duration_text(double seconds);

}  // namespace kvreplay
