// Bad input to a replay: each with its exit code, one line that says what to do, and nothing left behind.

#include <doctest/doctest.h>
#include <hdf5.h>

#include <cmath>

#include "tests/analysis/compare/results_fixture.h"
#include "tests/tools/cli/replay_fixture.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("budgets that mean nothing are usage errors") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder);
  const auto refuse = [&](const std::string& budgets) { return refused(folder, 2, {trace, "--budget", budgets}); };
  CHECK(contains(refuse("0"), "must be above 0"));
  CHECK(contains(refuse("-0.5"), "must be above 0"));
  CHECK(contains(refuse("nan"), "not a number"));
  CHECK(contains(refuse("inf"), "not a number"));
  CHECK(contains(refuse("1.5"), "neither a fraction up to 1 nor a whole number"));
  CHECK(contains(refuse("0.5,64"), "mixes fractions and tokens"));
  CHECK(contains(refuse("0.5,0.5"), "twice"));
  CHECK(contains(refuse("0.5:0.1:4"), "FROM must be below TO"));
  CHECK(contains(refused(folder, 2, {trace, "--budget", "16,1000", "--strict"}),
                 "case synthetic-0000@context: budget of 1000 tokens is above the 224 tokens"));
  CHECK(contains(refuse(""), "not a number"));
  for (const std::string ratio : {"1.5", "-0.1", "nan", "0.5,0.5", ""})
    refused(folder, 2, {trace, "--compression-ratio", ratio});
}

TEST_CASE("unknown names come with the known ones and the nearest") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder);
  const auto refuse = [&](const char* option, const char* text) { return refused(folder, 2, {trace, option, text}); };
  CHECK(contains(refuse("--policy", "snapvk"),
                 "unknown policy 'snapvk'; did you mean 'snapkv'? 'kvreplay policies' lists them"));
  CHECK(contains(refuse("--policy", "snapkv:windw=3"), "did you mean 'window'"));
  CHECK(contains(refuse("--policy", "snapkv:window=many"), "window"));
  CHECK(contains(refuse("--policy", "snapkv+adaa"), "unknown modifier or allocator 'adaa'; did you mean 'ada'?"));
  CHECK(contains(refuse("--metric", "output_eror"), "unknown metric 'output_eror'; did you mean 'output_error'?"));
  CHECK(contains(refuse("--compression-point", "promt"), "did you mean 'prompt'? known: context, prompt"));
  CHECK(contains(refuse("--sample", "synthetic-0001"),
                 "unknown sample 'synthetic-0001'; did you mean 'synthetic-0000'?"));
  CHECK(contains(refuse("--layer", "7"), "layer 7 is not recorded; there are: 0, 1"));
  CHECK(contains(refuse("--layer", "one"), "takes numbers and ranges"));
  CHECK(contains(refuse("--polcy", "snapkv"), "did you mean '--policy'?"));
}

TEST_CASE("an empty list chooses nothing, and that is refused") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder);
  for (const std::string option : {"--policy", "--metric", "--layer", "--sample", "--compression-point"})
    for (const std::string text : {"", ","}) {
      CAPTURE(option);
      CAPTURE(text);
      refused(folder, 2, {trace, option, text});
    }
}

TEST_CASE("one policy in two spellings is refused, as is a metric given twice") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder);
  CHECK(contains(refused(folder, 2, {trace, "-p", "snapkv", "-p", "snapkv"}), "are the same policy"));
  CHECK(contains(refused(folder, 2, {trace, "-p", "snapkv,snapkv:window=64"}), "'snapkv:window=64'"));
  CHECK(contains(refused(folder, 2, {trace, "-p", "snapkv+ada,ada-snapkv"}), "are the same policy"));
  CHECK(contains(refused(folder, 2, {trace, "-m", "output_error,output_error"}), "given twice"));
}

TEST_CASE("an observation window longer than what it observes is bad input") {
  const TemporaryFolder folder;
  // 224 tokens before `context`, 256 before `prompt`: too long for both.
  CHECK(contains(refused(folder, 3, {write_trace(folder), "-p", "snapkv:window=260"}),
                 "policy 'snapkv:window=260': its observation window of 260 queries is longer than the 224 tokens up "
                 "for eviction in layer 0 of case synthetic-0000@context"));
}

TEST_CASE("compression points lie inside the sample") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder);
  for (const std::string point : {"0", "272", "100000"})
    CHECK(contains(refused(folder, 2, {trace, "--compression-point", point}),
                   "compression point " + point + " is not inside its 272 tokens"));
  refused(folder, 2, {trace, "--compression-point=-1"});
  refused(folder, 2, {trace, "--compression-point", "99999999999999999999999"});
  CHECK(contains(refused(folder, 2, {trace, "--compression-point", "prompt", "--compression-point", "prompt"}),
                 "two cases"));
}

TEST_CASE("outputs are checked before the work: none, one that exists, one that cannot be") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder), mine = folder.file("mine.h5");
  std::ofstream(mine) << "mine";
  CHECK(replay({trace}).exit_code == 2);
  CHECK(contains(replay({trace}).err, "--output"));
  const ProgramRun exists = replay({trace, "-o", mine});
  CHECK(exists.exit_code == 2);
  CHECK(contains(exists.err, "--force"));
  CHECK(content_of(mine) == "mine");
  // /proc takes no files, not even from root.
  for (const std::string& path : {folder.file("no/such/folder/r.h5"), std::string("/proc/r.h5")}) {
    const ProgramRun failed = replay({trace, "-o", path});
    CHECK(failed.exit_code == 1);
    CHECK(contains(failed.err, path));
  }
  CHECK(replay({trace, "-o", folder.file("")}).exit_code == 2);
  CHECK(refused(folder, 2, {trace, "--threads", "0"}).size() > 0);
  CHECK(folder.n_files() == 2);
}

TEST_CASE("files that are no whole trace are bad input") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder);
  const auto refuse = [&](const std::string& path) { CHECK(contains(refused(folder, 3, {path}), path)); };
  refuse(folder.file("absent.h5"));
  refuse(folder.file(""));
  std::ofstream(folder.file("text.h5")) << "not HDF5 at all";
  refuse(folder.file("text.h5"));
  write_dataset(folder.file("results.h5"), ResultsFixture().build());
  refuse(folder.file("results.h5"));
  const std::string whole = content_of(trace);
  for (const double share : {0.0, 0.3, 0.9}) {
    const std::string path = folder.file("cut.h5");
    std::ofstream(path, std::ios::binary)
        << whole.substr(0, static_cast<std::size_t>(share * static_cast<double>(whole.size())));
    refuse(path);
  }
  CHECK(contains(refused(folder, 2, {}), "TRACE"));
}

TEST_CASE("a NaN in the last layer's keys is bad input that names the place and leaves nothing behind") {
  const TemporaryFolder folder;
  SyntheticTraceOptions options = small_trace();
  options.dtype = DType::float32;
  const std::string trace = write_trace(folder, "nan.h5", options);
  const hid_t file = H5Fopen(trace.c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
  const hid_t dataset = H5Dopen2(file, "/samples/0000/layers/01/keys", H5P_DEFAULT);
  REQUIRE(dataset >= 0);
  std::vector<float> keys(2 * 272 * 16);
  REQUIRE(H5Dread(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, keys.data()) >= 0);
  keys[(1 * 272 + 5) * 16 + 3] = std::nanf("");
  REQUIRE(H5Dwrite(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, keys.data()) >= 0);
  H5Dclose(dataset);
  H5Fclose(file);
  const std::string line = refused(folder, 3, {trace, "-p", "knorm", "-b", "0.1", "-j", "1"});
  CHECK(contains(line, trace));
  CHECK(contains(line, "/samples/0000/layers/01/keys"));
  CHECK(contains(line, "head 1, token 5, channel 3"));
}

TEST_CASE("results of another major version are refused by compare") {
  const TemporaryFolder folder;
  Dataset results = replayed(folder, {write_trace(folder), "-p", "knorm", "-b", "0.1,0.5"});
  CHECK(run({"compare", folder.file("replayed.h5")}).exit_code == 0);
  results.attributes["format_version"] = "2.0";
  write_dataset(folder.file("future.h5"), results);
  const ProgramRun compared = run({"compare", folder.file("future.h5")});
  CHECK(compared.exit_code == 3);
  CHECK(contains(compared.err, "2.0"));
  CHECK(contains(compared.err, folder.file("future.h5")));
}
