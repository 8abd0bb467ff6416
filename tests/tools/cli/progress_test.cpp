#include "tools/cli/progress.h"

#include <doctest/doctest.h>

#include <chrono>
#include <sstream>
#include <string>
#include <thread>

using namespace kvreplay;
using namespace std::chrono_literals;

namespace {

// A stream that is looked at while another thread writes: only after that thread has ended.
std::string said(ProgressForm form, double done, std::chrono::milliseconds lasting) {
  std::ostringstream out;
  {
    Progress progress(out, form, "replay", 100, "77.9 GFLOP", 10ms);
    progress.advance(done);
    std::this_thread::sleep_for(lasting);
  }
  return out.str();
}

}  // namespace

TEST_CASE("a terminal hears from the work at once, before anything is done, and keeps nothing of it") {
  const std::string text = said(ProgressForm::line, 0, 0ms);
  CHECK(text.starts_with("\r\033[Kreplay: 0 % of 77.9 GFLOP after "));
  CHECK(text.find("left") == std::string::npos);  // nothing to tell it from
  CHECK(text.ends_with("\r\033[K"));
  CHECK(text.find('\n') == std::string::npos);
}

TEST_CASE("a log has a line for every period, with the share done and a forecast") {
  const std::string text = said(ProgressForm::lines, 25, 200ms);
  CHECK(text.starts_with("replay: 25 % of 77.9 GFLOP after "));
  CHECK(text.find(" left\n") != std::string::npos);
  CHECK(text.find('\r') == std::string::npos);
  std::ostringstream short_work;
  { Progress progress(short_work, ProgressForm::lines, "replay", 100, "77.9 GFLOP"); }
  CHECK(short_work.str().empty());  // done before the first half minute
}

TEST_CASE("no form, no word; more than all is all") {
  CHECK(said(ProgressForm::none, 25, 30ms).empty());
  CHECK(said(ProgressForm::lines, 1000, 200ms).starts_with("replay: 100 % of "));
}

TEST_CASE("durations are read at a glance") {
  CHECK(duration_text(0.85) == "850 ms");
  CHECK(duration_text(12) == "12 s");
  CHECK(duration_text(200) == "3 min 20 s");
  CHECK(duration_text(7500) == "2 h 5 min");
}
