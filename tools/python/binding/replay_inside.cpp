#include "tools/python/binding/replay_inside.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <sstream>
#include <streambuf>
#include <thread>
#include <utility>

#include "core/base/error.h"
#include "tools/cli/commands.h"
#include "tools/python/binding/rows.h"

namespace kvreplay::python {
namespace {

struct Stopped : std::exception {
  const char* what() const noexcept override { return "stopped"; }
};

/// What threads of the engine say, until Python's thread takes it.
class Lines : public std::streambuf {
 public:
  std::vector<std::string> take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(lines_, {});
  }

 protected:
  int_type overflow(int_type c) override {
    const std::lock_guard lock(mutex_);
    put(traits_type::to_char_type(c));
    return c;
  }
  std::streamsize xsputn(const char* text, std::streamsize n) override {
    const std::lock_guard lock(mutex_);
    for (std::streamsize i = 0; i < n; ++i) put(text[i]);
    return n;
  }

 private:
  void put(char c) {
    if (c == '\n')
      lines_.push_back(std::exchange(line_, {}));
    else
      line_ += c;
  }

  std::mutex mutex_;
  std::vector<std::string> lines_;
  std::string line_;
};

/// Runs work() on a thread of its own. Python's thread calls look() without end until it is done; what that throws sets
/// `stop`, and is thrown again after the work has ended.
template <typename Work, typename Look>
void while_looking(std::atomic<bool>& stop, const Work& work, const Look& look) {
  std::mutex mutex;
  std::condition_variable ended;
  bool over = false;
  std::exception_ptr failure, refusal;
  std::thread worker([&] {
    try {
      work();
    } catch (...) {
      failure = std::current_exception();
    }
    const std::lock_guard lock(mutex);
    over = true;
    ended.notify_one();
  });
  const auto look_once = [&] {
    if (refusal) return;
    try {
      look();
    } catch (...) {
      refusal = std::current_exception();
      stop = true;
    }
  };
  for (bool running = true; running; look_once()) {
    const nb::gil_scoped_release released;
    std::unique_lock lock(mutex);
    ended.wait_for(lock, std::chrono::milliseconds(50), [&] { return over; });
    running = !over;
  }
  {
    const nb::gil_scoped_release released;
    worker.join();
  }
  if (refusal) std::rethrow_exception(refusal);
  if (failure) std::rethrow_exception(failure);
}

}  // namespace

std::string replay_inside(const std::vector<std::string>& words, const nb::list& parts, const nb::object& heard,
                          std::int64_t progress_ms) {
  // The tables are the process's.
  static std::mutex tables;
  const std::unique_lock lock(tables, std::try_to_lock);
  if (!lock) throw UsageError("a replay inside of this process is at work; one at a time");
  Rows rows = rows_of(parts);
  const AddedRows added(std::move(rows.scorers), std::move(rows.modifiers), std::move(rows.allocators));
  std::ostringstream out;
  Lines lines;
  std::ostream err(&lines);
  std::atomic<bool> stop = false;
  const auto keep_going = [&] {
    if (stop) throw Stopped();
  };
  const ReplayHost host{
      .keep_going = keep_going, .progress = ProgressForm::lines, .period = std::chrono::milliseconds(progress_ms)};
  const auto look = [&] {
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
    for (const std::string& line : lines.take()) heard(nb::str(line.c_str(), line.size()));
  };
  while_looking(
      stop, [&] { run_replay_command(words, out, err, host); }, look);
  return out.str();
}

}  // namespace kvreplay::python
