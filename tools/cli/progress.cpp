#include "tools/cli/progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iostream>

#include "tools/cli/terminal.h"

namespace kvreplay {
namespace {

std::chrono::milliseconds default_period(ProgressForm form) {
  using namespace std::chrono_literals;
  if (form == ProgressForm::line) return 500ms;
  const char* given = std::getenv("KVREPLAY_PROGRESS_MS");
  const int period = given == nullptr ? 0 : std::atoi(given);
  return period > 0 ? std::chrono::milliseconds(period) : 30'000ms;
}

}  // namespace

ProgressForm progress_form(const std::ostream& out, bool quiet) {
  if (quiet || &out != &std::cerr) return ProgressForm::none;
  return is_terminal(out) ? ProgressForm::line : ProgressForm::lines;
}

Progress::Progress(std::ostream& out, ProgressForm form, std::string title, double total, std::string amount,
                   std::chrono::milliseconds period)
    : out_(out),
      form_(form),
      title_(std::move(title)),
      amount_(std::move(amount)),
      total_(total),
      period_(period.count() > 0 ? period : default_period(form)) {
  if (form_ != ProgressForm::none) thread_ = std::thread([this] { run(); });
}

Progress::~Progress() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  stopped_.notify_all();
  thread_.join();
  if (form_ == ProgressForm::line) out_ << "\r\033[K" << std::flush;
}

void Progress::advance(double work) {
  const std::lock_guard lock(mutex_);
  done_ += work;
}

void Progress::note(std::ostream& out, const std::string& text) {
  const std::lock_guard lock(mutex_);
  if (form_ == ProgressForm::line) out_ << "\r\033[K" << std::flush;
  out << text << std::endl;
}

void Progress::run() {
  std::unique_lock lock(mutex_);
  // A terminal is told at once that work has begun; a log only what takes its time.
  if (form_ == ProgressForm::line) out_ << message() << std::flush;
  while (!stopped_.wait_for(lock, period_, [this] { return stop_; })) out_ << message() << std::flush;
}

std::string Progress::message() const {
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  const double part = total_ > 0 ? std::clamp(done_ / total_, 0.0, 1.0) : 0;
  constexpr double kTold = 0.005;  // before that a forecast is a guess
  const std::string left = part < kTold ? "" : fmt::format(", {} left", duration_text(seconds * (1 - part) / part));
  const std::string text = fmt::format("{}: {:.0f} % of {} after {}{}", title_, std::floor(100 * part), amount_,
                                       duration_text(seconds), left);
  return form_ == ProgressForm::line ? "\r\033[K" + text : text + "\n";
}

std::string duration_text(double seconds) {
  if (seconds < 1) return fmt::format("{:.0f} ms", seconds * 1000);
  if (seconds < 60) return fmt::format("{:.0f} s", seconds);
  const auto whole = static_cast<long long>(std::llround(seconds));
  if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
  return fmt::format("{} h {} min", whole / 3600, whole % 3600 / 60);
}

}  // namespace kvreplay
