#include "tools/cli/progress.h"

#include <fmt/format.h>

#include <cmath>

namespace kvreplay {

Progress::Progress(std::ostream& out, bool enabled, std::string title, std::size_t n_units)
    : out_(out), enabled_(enabled), title_(std::move(title)), n_units_(n_units) {}

Progress::~Progress() {
  if (enabled_ && n_done_ > 0) out_ << "\r\033[K" << std::flush;
}

void Progress::finish_unit() {
  const std::lock_guard lock(mutex_);
  ++n_done_;
  if (!enabled_) return;
  const double elapsed = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  const double left = elapsed / static_cast<double>(n_done_) * static_cast<double>(n_units_ - n_done_);
  out_ << fmt::format("\r\033[K{} {}/{} units, {} %, {} left", title_, n_done_, n_units_, 100 * n_done_ / n_units_,
                      duration_text(left))
       << std::flush;
}

std::string duration_text(double seconds) {
  if (seconds < 1) return fmt::format("{:.0f} ms", seconds * 1000);
  if (seconds < 60) return fmt::format("{:.0f} s", seconds);
  const auto whole = static_cast<long long>(std::llround(seconds));
  if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
  return fmt::format("{} h {} min", whole / 3600, whole % 3600 / 60);
}

}  // namespace kvreplay
