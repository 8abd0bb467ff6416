// Traces of a cache alone, as other programs leave them: what needs no queries is replayed, the rest refused by name.

#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "core/data/left_out.h"
#include "tests/tools/cli/replay_fixture.h"
#include "traces/trace/trace_reader.h"
#include "traces/trace/trace_writer.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

/// The keys and values of a trace, and W_O; compression points `prompt` and, after the last token, `end`.
std::string strip_queries(const std::string& from, const std::string& to, bool tokens = true) {
  const TraceReader reader(from);
  TraceInfo info = reader.info();
  for (SampleInfo& sample : info.samples) {
    sample.query_ranges.clear();
    sample.sensitivities.clear();
    sample.probes.clear();
    sample.compression_points = {{"prompt", kPrompt}, {"end", sample.n_tokens}};
    if (!tokens) std::ranges::fill(sample.token_ids, kUnknownToken);
  }
  TraceWriter writer(to, info);
  for (std::size_t l = 0; l < info.layers.size(); ++l) {
    const LayerData layer = reader.read_layer(0, l);
    for (std::size_t h = 0; h < info.model.n_kv_heads; ++h) {
      writer.write(0, l, TraceTensor::keys, h, 0, layer.keys.matrix(h));
      writer.write(0, l, TraceTensor::values, h, 0, layer.values.matrix(h));
    }
    if (!layer.block_cosine.empty()) writer.write_block_cosine(0, l, layer.block_cosine);
    if (layer.output_projection.empty()) continue;
    const Tensor& projection = layer.output_projection;
    const std::size_t width = projection.cols();
    writer.write_output_projection(l,
                                   {projection.values().data(), projection.count() * projection.rows(), width, width});
  }
  writer.commit();
  return to;
}

std::string write_cache(const TemporaryFolder& folder, bool tokens = true) {
  return strip_queries(write_trace(folder, "whole.h5"), folder.file("cache.h5"), tokens);
}

std::set<std::string> names(const Dataset& results, const std::string& dimension) {
  const std::vector<std::string> all = labels<std::string>(results, dimension);
  return {all.begin(), all.end()};
}

}  // namespace

TEST_CASE("a trace without queries says so in its version, and reads back with no rows of them") {
  const TemporaryFolder folder;
  const TraceReader whole(write_trace(folder, "whole.h5")), cache(write_cache(folder));
  CHECK(cache.info().samples.front().query_ranges.empty());
  CHECK(cache.info().samples.front().compression_points.back().position == cache.info().samples.front().n_tokens);
  const LayerData with = whole.read_layer(0, 1), without = cache.read_layer(0, 1);
  CHECK(without.queries.count() == 4);
  CHECK(without.queries.rows() == 0);
  CHECK(without.query_positions.empty());
  CHECK(std::ranges::equal(with.keys.values(), without.keys.values()));
  CHECK(std::ranges::equal(with.values.values(), without.values.values()));
  cache.prefetch_layer(0, 1);
}

TEST_CASE("inspect says that there are no queries") {
  const TemporaryFolder folder;
  const ProgramRun done = run({"inspect", write_cache(folder)});
  CHECK_MESSAGE(done.exit_code == 0, done.err);
  CHECK(contains(done.out, "format 1.4"));
  CHECK(contains(done.out, "none recorded"));
  CHECK(contains(run({"inspect", folder.file("whole.h5")}).out, "format 1.3"));
  CHECK(contains(run({"inspect", "--json", folder.file("cache.h5")}).out, "\"query_ranges\": []"));
}

TEST_CASE("without a list, the policies and metrics that need no queries are replayed, and the others are noted") {
  const TemporaryFolder folder;
  const std::string trace = write_cache(folder), results = folder.file("r.h5");
  const ProgramRun done = replay({trace, "-b", "0.1,0.5", "-o", results});
  REQUIRE_MESSAGE(done.exit_code == 0, done.err);
  const Dataset read = read_dataset(results);
  const std::set<std::string> policies = names(read, "policy");
  for (const char* name : {"knorm", "value-norm", "keydiff", "lagkv", "streaming-llm", "random", "full"})
    CHECK_MESSAGE(policies.contains(name), name);
  for (const char* name : {"snapkv", "h2o", "oracle", "error-oracle", "expected-attention", "kvzip"})
    CHECK_MESSAGE(!policies.contains(name), name);
  for (const char* name : {"kept_fraction", "bytes", "bytes_padded", "bytes_paged", "needle_recall"})
    CHECK_MESSAGE(read.has_variable(name), name);
  for (const char* name : {"output_error", "attention_recall", "capacity", "mutual_information", "projected_error"})
    CHECK_MESSAGE(!read.has_variable(name), name);
  CHECK(read.variable("n_queries").values == std::vector<double>{0, 0});
  const std::vector<LeftOut> left_out = parse_left_out(text_attribute(read.attributes, "left_out"));
  for (const char* name : {"snapkv", "oracle"}) {
    const auto found = std::ranges::find(left_out, name, &LeftOut::policy);
    REQUIRE(found != left_out.end());
    CHECK(found->why.starts_with("it needs queries, and none are recorded in layer 0 of case "));
  }
  CHECK(std::ranges::find(left_out, "output_error", &LeftOut::metric) != left_out.end());
  // Dozens of names, but a line for each reason.
  CHECK(contains(done.err, "leaving out policies "));
  CHECK(contains(done.err, "leaving out metrics "));
  CHECK(std::ranges::count(done.err, '\n') < 12);
}

TEST_CASE("what needs queries is refused by name") {
  const TemporaryFolder folder;
  const std::string trace = write_cache(folder);
  for (const char* policy : {"snapkv", "h2o", "oracle", "error-greedy", "knorm+waterfill", "capkv", "tova", "r-kv"})
    CHECK_MESSAGE(contains(refused(folder, 3, {trace, "-p", policy}), ": it needs queries, and none are recorded"),
                  policy);
  for (const char* metric : {"output_error", "attention_recall", "capacity", "capacity:anchor=prompt",
                             "jacobian_information", "capacity_rank_correlation", "cosine_distance"})
    CHECK_MESSAGE(
        contains(refused(folder, 3, {trace, "-p", "knorm", "-m", metric}), ": it needs queries, and none are recorded"),
        metric);
  CHECK(contains(refused(folder, 3, {trace, "-p", "knorm", "-m", "predicted_kl"}), "metric 'predicted_kl': "));
  CHECK(contains(refused(folder, 3, {trace, "-p", "knorm", "--save-outputs", folder.file("o.h5")}),
                 "no queries are recorded"));
  const std::string report = refused(folder, 3, {trace, "-p", "knorm", "--report", folder.file("o.html")});
  CHECK_MESSAGE(contains(report, "report"), report);
  CHECK(!std::filesystem::exists(folder.file("o.html")));
}

TEST_CASE("sets are those of the trace with queries, and overlap is measured on them") {
  const TemporaryFolder folder;
  const std::string cache = write_cache(folder), whole = folder.file("whole.h5");
  const std::vector<std::string> more{"-p",
                                      "knorm,keydiff,value-norm:of=projected,streaming-llm",
                                      "-b",
                                      "0.1,0.5",
                                      "-m",
                                      "overlap,bytes,kept_fraction",
                                      "--compression-point",
                                      "prompt"};
  const auto results_of = [&](const std::string& trace) {
    std::vector<std::string> args{trace};
    args.insert(args.end(), more.begin(), more.end());
    return replayed(folder, args);
  };
  const Dataset with = results_of(whole), without = results_of(cache);
  for (const char* name : {"overlap", "bytes", "kept_fraction"})
    CHECK_MESSAGE(with.variable(name).values == without.variable(name).values, name);
}

TEST_CASE("policies may act after the last token where nothing is asked of it, and only there") {
  const TemporaryFolder folder;
  const std::string cache = write_cache(folder), whole = folder.file("whole.h5");
  const Dataset results =
      replayed(folder, {cache, "-p", "knorm", "-b", "0.25", "-m", "kept_fraction", "--compression-point", "272"});
  CHECK(results.variable("n_candidates").values.front() == 272);
  CHECK(contains(refused(folder, 2, {cache, "-p", "knorm", "--compression-point", "273"}), "is not inside its 272"));
  CHECK(contains(refused(folder, 2, {whole, "-p", "knorm", "--compression-point", "272"}), "is not inside its 272"));
}

TEST_CASE("a cache beside a trace with queries is left out, and costs no measure") {
  const TemporaryFolder folder;
  const std::string cache = write_cache(folder), whole = folder.file("whole.h5"), results = folder.file("r.h5");
  const ProgramRun done = replay({whole, cache, "-p", "knorm,snapkv", "-b", "0.5", "-o", results});
  REQUIRE_MESSAGE(done.exit_code == 0, done.err);
  CHECK(contains(done.err, "cache.h5: sample 'synthetic-0000' has no query recorded at or after compression point"));
  const Dataset read = read_dataset(results);
  CHECK(read.has_variable("output_error"));
  for (const std::string& label : labels<std::string>(read, "case")) CHECK(label.starts_with("whole:"));
}

TEST_CASE("results without a loss are compared by what they have") {
  const TemporaryFolder folder;
  const std::string results = folder.file("r.h5");
  REQUIRE(replay({write_cache(folder), "-p", "knorm,random", "-b", "0.1,0.5", "-o", results}).exit_code == 0);
  const ProgramRun tables = run({"compare", results, "--tables"});
  CHECK_MESSAGE(tables.exit_code == 0, tables.err);
  CHECK(contains(tables.out, "kept_fraction"));
  const ProgramRun verdict = run({"compare", results});
  CHECK_MESSAGE(verdict.exit_code == 0, verdict.err);
  CHECK(contains(verdict.out, "Nobody is ranked"));
  const ProgramRun asked = run({"compare", results, "--metric", "output_error"});
  CHECK(asked.exit_code != 0);
  CHECK(std::ranges::count(asked.err, '\n') == 1);
}

TEST_CASE("budgets are not fitted to what lacks queries or token ids") {
  const TemporaryFolder folder;
  std::vector<std::string> args{"fit-budgets", write_cache(folder), "--scorer", "knorm", "-o", folder.file("b.h5")};
  const ProgramRun done = run(args);
  CHECK(done.exit_code == 3);
  CHECK_MESSAGE(contains(done.err, "no queries are recorded"), done.err);
}

TEST_CASE("token ids that nobody knows are part of version 1.4") {
  const TemporaryFolder folder;
  const TraceReader cache(write_cache(folder, false));
  CHECK(cache.info().samples.front().token_ids.front() == kUnknownToken);
  CHECK(replay({cache.path().string(), "-p", "knorm", "-b", "0.5", "-o", folder.file("r.h5")}).exit_code == 0);
}
