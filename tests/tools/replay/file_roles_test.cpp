#include "tools/replay/file_roles.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "tests/support/temporary_folder.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

namespace fs = std::filesystem;

void touch(const fs::path& path) { std::ofstream(path) << "content"; }

// The message; "" where the roles are fine.
std::string refused(const std::vector<fs::path>& inputs, const std::vector<OutputRole>& outputs) {
  try {
    check_file_roles(inputs, outputs);
    return "";
  } catch (const UsageError& error) {
    return error.what();
  }
}

}  // namespace

TEST_CASE("an output is no input, however it is spelled or linked") {
  const TemporaryFolder folder;
  const fs::path input = folder / "t.h5";
  touch(input);
  fs::create_directory(folder / "sub");
  fs::create_symlink(input, folder / "symbolic.h5");
  fs::create_hard_link(input, folder / "hard.h5");
  fs::create_directory_symlink(folder.path(), folder / "way");
  for (const fs::path& output : {input, folder / "sub/../t.h5", folder / "./t.h5", folder / "symbolic.h5",
                                 folder / "hard.h5", folder / "way/t.h5"}) {
    CAPTURE(output);
    const std::string message = refused({input}, {{"--output", output}});
    CHECK(message.find("would be lost") != std::string::npos);
    CHECK(message.find("--output " + output.string()) == 0);
  }
  CHECK(refused({folder / "symbolic.h5"}, {{"--output", input}}) != "");
  CHECK(refused({input}, {{"--output", folder / "other.h5"}, {"--csv", folder / "sub/t.h5"}}) == "");
}

TEST_CASE("the files that are written on the way to an output are no inputs either") {
  const TemporaryFolder folder;
  fs::create_directory(folder / "r.h5.units");
  for (const char* name : {"r.h5.tmp", "r.h5.units/unit-000000.h5"}) {
    touch(folder / name);
    CHECK(refused({folder / name}, {{"--output", folder / "r.h5"}}).find(name) != std::string::npos);
  }
}

TEST_CASE("two outputs are two files, whether they are there or not") {
  const TemporaryFolder folder;
  fs::create_directory(folder / "sub");
  const auto both = [&](const std::string& a, const std::string& b) {
    return refused({}, {{"--csv", folder / a}, {"--json", folder / b}});
  };
  CHECK(both("a", "a") == "--csv " + folder.file("a") + " and --json " + folder.file("a") + " are one file: give two");
  CHECK(both("a", "sub/../a") != "");
  CHECK(both("a", "a.tmp") != "");
  CHECK(both("a.tmp", "a") != "");
  CHECK(both("a", "b") == "");
  CHECK(both("missing/a", "b") == "");
  CHECK(both("missing/a", "missing/a") != "");
  fs::create_symlink(folder / "a", folder / "to-a");  // to nothing, yet
  CHECK(both("a", "to-a") != "");
  touch(folder / "a");
  fs::create_hard_link(folder / "a", folder / "linked");
  CHECK(both("a", "linked") != "");
}
