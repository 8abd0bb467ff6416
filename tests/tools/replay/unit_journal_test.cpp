// The folder of finished units: who may use it, and what a kill between two outputs leaves.

#include "tools/replay/unit_journal.h"

#include <doctest/doctest.h>

#include <atomic>
#include <thread>

#include "core/base/error.h"
#include "tests/tools/cli/program_process.h"
#include "tests/tools/cli/replay_fixture.h"
#include "tools/replay/output_file.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

const std::string kOptions = "{\"some\": \"options\"}\n";

Dataset some_unit() { return {.attributes = {{"n", std::int64_t{1}}}, .dimensions = {}, .variables = {}, .texts = {}}; }

std::vector<std::unique_ptr<NewFile>> new_files(const std::vector<std::string>& paths) {
  std::vector<std::unique_ptr<NewFile>> files;
  for (const std::string& path : paths) {
    files.push_back(std::make_unique<NewFile>(path));
    std::ofstream(files.back()->temporary()) << "content of " << path;
  }
  return files;
}

/// What a kill leaves: nothing is tidied up.
void leave(std::vector<std::unique_ptr<NewFile>>& files) {
  for (auto& file : files) static_cast<void>(file.release());
}

}  // namespace

TEST_CASE("a unit is in the journal when it is whole, and never as a temporary") {
  const TemporaryFolder folder;
  UnitJournal journal(folder.file("r.h5"), kOptions, false);
  CHECK(journal.empty());
  std::ofstream(folder.file("r.h5.units/unit-000001.h5.tmp")) << "half of a unit";
  CHECK(journal.empty());
  CHECK(!journal.has(1));
  CHECK(UnitJournal::n_left(folder.file("r.h5"), kOptions, false) == 0);
  journal.write(1, some_unit());  // over what was left
  CHECK(journal.has(1));
  CHECK(!journal.empty());
  CHECK(UnitJournal::n_left(folder.file("r.h5"), kOptions, false) == 1);
  CHECK(journal.read(1).attributes.size() == 1);
  CHECK(!std::filesystem::exists(folder.file("r.h5.units/unit-000001.h5.tmp")));
}

TEST_CASE("a journal that is refused leaves that of its owner alone") {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder.file("r.h5.units"));
  {
    UnitJournal owner(folder.file("r.h5"), kOptions, false);
    std::filesystem::remove(folder.file("r.h5.units/options.json"));  // as if it had not come so far yet
    CHECK_THROWS_AS(UnitJournal(folder.file("r.h5"), kOptions, true), SystemError);
    CHECK(std::filesystem::exists(folder.file("r.h5.units")));
    owner.write(0, some_unit());
  }
  UnitJournal next(folder.file("r.h5"), kOptions, false);
  CHECK(next.has(0));
}

TEST_CASE("of many that open and remove one journal at once, one has it at a time") {
  const TemporaryFolder folder;
  std::atomic<int> n_inside = 0, n_had = 0;
  std::atomic<bool> clash = false;
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) try {
          UnitJournal journal(folder.file("r.h5"), kOptions, false);
          if (++n_inside != 1) clash = true;
          if (journal.has(0)) clash = true;  // of one that has finished: it was removed with its folder
          journal.write(0, some_unit());
          ++n_had;
          --n_inside;
          journal.remove();
        } catch (const SystemError&) {  // another one has it
        }
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(!clash);
  CHECK(n_had > 0);
  CHECK(folder.n_files() == 0);
}

TEST_CASE("a journal knows the files that it was putting in place, and no others") {
  const TemporaryFolder folder;
  const std::string results = folder.file("r.h5"), sets = folder.file("sets.h5");
  {
    const UnitJournal journal(results, kOptions, false);
    CHECK(!UnitJournal::published(results, sets));
    journal.publish(new_files({sets, results}));
  }
  CHECK(content_of(sets) == "content of " + sets);
  CHECK(UnitJournal::published(results, sets));
  CHECK(UnitJournal::published(results, results));
  { CHECK_NOTHROW(UnitJournal(results, kOptions, false)); }  // of the same options still
  CHECK_THROWS_AS(UnitJournal(results, "{\"other\": \"options\"}\n", false), UsageError);
  std::filesystem::remove(sets);
  CHECK(!UnitJournal::published(results, sets));
  std::ofstream(sets) << "mine, of another time";
  CHECK(!UnitJournal::published(results, sets));
  UnitJournal(results, kOptions, false).remove();
  CHECK(!UnitJournal::published(results, results));
}

TEST_CASE("killed between two outputs, the same command needs no --force and overwrites nobody else's file") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder), whole = folder.file("whole.h5");
  const auto command = [&](const std::string& output) {
    return std::vector<std::string>{trace,           "-p", "knorm", "-b", "0.1,0.5", "-o", output, "--save-retained",
                                    output + ".sets"};
  };
  REQUIRE(replay(command(whole)).exit_code == 0);
  const std::string options =
      journal_options(std::get<std::string>(read_dataset(whole).attributes.at("options")), {.retained = true});

  SUBCASE("one of two is there") {
    const std::string results = folder.file("one.h5");
    {
      auto files = new_files({results + ".sets", results});
      const UnitJournal journal(results, options, false);
      std::vector<std::unique_ptr<NewFile>> first;
      first.push_back(std::move(files[0]));
      journal.publish(first);
      files.erase(files.begin());
      leave(files);
    }
    std::filesystem::remove(results + ".tmp");  // this process holds its lock still
    REQUIRE(std::filesystem::exists(results + ".sets"));
    const ProgramRun again = replay(command(results));
    CHECK_MESSAGE(again.exit_code == 0, again.err);
    CHECK(content_of(results) == content_of(whole));
    CHECK(content_of(results + ".sets") == content_of(whole + ".sets"));
    CHECK(!std::filesystem::exists(results + ".units"));
  }
  SUBCASE("both are there, and the folder too") {
    const std::string results = folder.file("both.h5");
    {
      const UnitJournal journal(results, options, false);
      journal.write(0, some_unit());
      journal.publish(new_files({results + ".sets", results}));
    }
    const ProgramRun again = replay(command(results));
    CHECK_MESSAGE(again.exit_code == 0, again.err);
    CHECK(contains(again.err, results + " was there already, written by the same replay"));
    CHECK(content_of(results) == "content of " + results);
    CHECK(!std::filesystem::exists(results + ".units"));
    CHECK(replay(command(results)).exit_code == 2);  // now it is a file like any other
  }
  SUBCASE("a file of somebody else has taken the place") {
    const std::string results = folder.file("other.h5");
    {
      const UnitJournal journal(results, options, false);
      journal.publish(new_files({results + ".sets"}));
    }
    std::filesystem::remove(results + ".sets");
    std::ofstream(results + ".sets") << "mine";
    CHECK(replay(command(results)).exit_code == 2);
    CHECK(content_of(results + ".sets") == "mine");
  }
}

TEST_CASE("a finished unit that is damaged is replayed again, and no other is lost") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder), whole = folder.file("whole.h5"), output = folder.file("r.h5");
  const auto command = [&](const std::string& to) {
    return std::vector<std::string>{trace, "-p", "knorm", "-b", "0.1,0.5", "-o", to};
  };
  REQUIRE(replay(command(whole)).exit_code == 0);
  const Dataset results = read_dataset(whole);
  const std::string options = journal_options(std::get<std::string>(results.attributes.at("options")), {});
  const auto leave_unit = [&](const auto& write) {
    UnitJournal journal(output, options, false);
    journal.write(1, some_unit());
    write(journal);
  };
  SUBCASE("it is no HDF5 file") {
    leave_unit([&](const UnitJournal&) { std::ofstream(output + ".units/unit-000000.h5") << "nothing"; });
  }
  SUBCASE("it is another dataset") {
    leave_unit([&](const UnitJournal& journal) { journal.write(0, some_unit()); });
  }
  // Unit 1 is no better: each has its turn.
  const ProgramRun run = replay(command(output));
  CHECK(run.exit_code == 0);
  for (const std::string unit : {"0", "1"})
    CHECK(run.err.find("warning: finished unit " + unit + " in " + output + ".units is damaged") != std::string::npos);
  CHECK(content_of(output) == content_of(whole));
}

TEST_CASE("of two replays started at one moment on the same output, none does harm") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder), whole = folder.file("whole.h5");
  const auto command = [&](const std::string& output) {
    return std::vector<std::string>{
        "replay",          trace,           "-p", "knorm,streaming-llm", "-b", "0.1,0.5", "-j", "1", "-o", output,
        "--save-retained", output + ".sets"};
  };
  REQUIRE(run(command(whole)).exit_code == 0);
  for (int i = 0; i < 12; ++i) {
    const std::string results = folder.file("r" + std::to_string(i) + ".h5");
    ProgramProcess first(command(results), folder.file("first"));
    // From one moment to the last moments of the other.
    std::this_thread::sleep_for(std::chrono::milliseconds(8 * i));
    ProgramProcess second(command(results), folder.file("second"));
    const int codes[] = {first.wait(), second.wait()};
    const std::string messages = content_of(folder.file("first")) + content_of(folder.file("second"));
    CAPTURE(messages);
    // One has written it. The other found it at work (1) or its results (2).
    CHECK((codes[0] == 0) != (codes[1] == 0));
    CHECK(std::max(codes[0], codes[1]) <= 2);
    CHECK(content_of(results) == content_of(whole));
    CHECK(content_of(results + ".sets") == content_of(whole + ".sets"));
    CHECK(!std::filesystem::exists(results + ".units"));
    CHECK(!std::filesystem::exists(results + ".tmp"));
  }
}

TEST_CASE("who only looks whether an output can be written does not stop who writes it") {
  const TemporaryFolder folder;
  std::atomic<bool> done = false;
  std::thread looks([&] {
    while (!done) {
      try {
        check_output(folder.file("r.h5"), true);
      } catch (const SystemError&) {  // it is being written
      }
      // Looks are momentary: whoever looked without a pause would keep the file to itself.
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  for (int i = 0; i < 50; ++i) CHECK_NOTHROW(write_dataset(folder.file("r.h5"), some_unit()));
  done = true;
  looks.join();
}
