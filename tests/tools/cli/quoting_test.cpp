// Names and paths with commas and pluses can be given to every option that takes a list.

#include <doctest/doctest.h>

#include <fstream>

#include "tests/tools/cli/replay_fixture.h"
#include "traces/results/dataset_file.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("a table's path may have commas and pluses, in quotes, and so may the policy's name in results") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder), table = folder.file("a,b=1+c.txt");
  std::ofstream(table) << "1 2\n2 1\n";
  const std::string label = "knorm+file:table=\"a,b=1+c.txt\"";
  const Dataset results =
      replayed(folder, {trace, "-p", "random,knorm+file:table=\"" + table + "\",snapkv:window=16", "-b", "0.25"});
  CHECK(labels<std::string>(results, "policy") == std::vector<std::string>{"random", label, "snapkv:window=16"});
  const ProgramRun compared =
      run({"compare", folder.file("replayed.h5"), "-p", label + ",random", "-m", "output_error", "--tables"});
  CHECK_MESSAGE(compared.exit_code == 0, compared.err);
  CHECK(contains(compared.out, label));
  CHECK(!contains(compared.out, "snapkv"));
}

TEST_CASE("a case whose name has commas is chosen by it alone, or in quotes among others") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder);
  replayed(folder, {trace, "-p", "knorm,random", "-b", "0.25"});
  Dataset results = read_dataset(folder.file("replayed.h5"));
  for (Dimension& dimension : results.dimensions)
    if (dimension.name == "case") dimension.labels = std::vector<std::string>{"a, b@context", "a, b@prompt"};
  for (TextVariable& text : results.texts)
    if (text.name == "case_sample") text.values = {"a, b", "a, b"};
  const std::string file = folder.file("commas.h5");
  write_dataset(file, results);
  const auto shown = [&](const std::string& cases) {
    const ProgramRun done = run({"compare", file, "--case", cases, "-m", "output_error", "--by", "case", "--tables"});
    CHECK_MESSAGE(done.exit_code == 0, done.err);
    return done.out;
  };
  CHECK(contains(shown("a, b@prompt"), ": 1 case of 1 sample"));
  CHECK(contains(shown("a, b"), ": 2 cases of 1 sample"));
  CHECK(contains(shown("\"a, b@prompt\", @context"), ": 2 cases of 1 sample"));
  const ProgramRun refused = run({"compare", file, "--case", "b@prompt"});
  CHECK(refused.exit_code == 2);
  CHECK(contains(refused.err, "unknown case 'b@prompt'"));
}
