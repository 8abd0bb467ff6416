#include "tools/cli/progress.h"

#include <doctest/doctest.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <ostream>
#include <streambuf>
#include <string>
#include <string_view>

using namespace kvreplay;
using namespace std::chrono_literals;

namespace {

/// Keeps what another thread writes, and lets a test wait for it: however slow the machine is.
class HeardText final : public std::streambuf {
 public:
  void wait_for(std::string_view part) {
    std::unique_lock lock(mutex_);
    grown_.wait(lock, [&] { return text_.find(part) != std::string::npos; });
  }
  std::string text() {
    const std::lock_guard lock(mutex_);
    return text_;
  }

 private:
  int_type overflow(int_type c) override {
    const char one = traits_type::to_char_type(c);
    xsputn(&one, 1);
    return c;
  }
  std::streamsize xsputn(const char* begin, std::streamsize n) override {
    const std::lock_guard lock(mutex_);
    text_.append(begin, static_cast<std::size_t>(n));
    grown_.notify_all();
    return n;
  }

  std::mutex mutex_;
  std::condition_variable grown_;
  std::string text_;
};

}  // namespace

TEST_CASE("a terminal hears from the work at once, before anything is done, and keeps nothing of it") {
  HeardText heard;
  std::ostream out(&heard);
  { const Progress progress(out, ProgressForm::line, "replay", 100, "77.9 GFLOP", 1h); }
  const std::string text = heard.text();
  CHECK(text.starts_with("\r\033[Kreplay: 0 % of 77.9 GFLOP after "));
  CHECK(text.find("left") == std::string::npos);  // nothing to tell it from
  CHECK(text.ends_with("\r\033[K"));
  CHECK(text.find('\n') == std::string::npos);
}

TEST_CASE("a log has a line for every period, with the share done and a forecast") {
  HeardText heard;
  std::ostream out(&heard);
  {
    Progress progress(out, ProgressForm::lines, "replay", 100, "77.9 GFLOP", 5ms);
    progress.advance(25);
    heard.wait_for("replay: 25 % of 77.9 GFLOP after ");
    progress.advance(1000);  // more than all is all
    heard.wait_for("replay: 100 % of ");
  }
  const std::string text = heard.text();
  CHECK(text.find(" left\n") != std::string::npos);
  CHECK(text.find('\r') == std::string::npos);
}

TEST_CASE("work that ends within a period leaves nothing in a log; no form, no word") {
  for (const ProgressForm form : {ProgressForm::lines, ProgressForm::none}) {
    HeardText heard;
    std::ostream out(&heard);
    {
      Progress progress(out, form, "replay", 100, "77.9 GFLOP", 1h);
      progress.advance(25);
    }
    CHECK(heard.text().empty());
  }
}

TEST_CASE("durations are read at a glance") {
  CHECK(duration_text(0.85) == "850 ms");
  CHECK(duration_text(12) == "12 s");
  CHECK(duration_text(200) == "3 min 20 s");
  CHECK(duration_text(7500) == "2 h 5 min");
}
