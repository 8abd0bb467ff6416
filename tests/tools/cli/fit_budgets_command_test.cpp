#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "core/base/error.h"
#include "tests/support/learned_policy_file.h"
#include "tests/tools/cli/replay_fixture.h"
#include "tools/replay/budget_fit.h"
#include "traces/learned/learned_policy_file.h"
#include "traces/trace/trace_reader.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

// Other prompts of one model, with random sensitivities unless `n_sketches` is 0.
std::vector<std::string> write_traces(const TemporaryFolder& folder, std::size_t n, std::size_t n_sketches = 4) {
  std::vector<std::string> paths;
  for (std::size_t i = 0; i < n; ++i) {
    SyntheticTraceOptions options = small_trace();
    options.seed = 10 + i;
    options.n_prompt = 256 + 16 * i;  // the prompts' tokens differ in number, if in nothing else
    options.n_sketches = n_sketches;
    paths.push_back(write_trace(folder, "t" + std::to_string(i) + ".h5", options));
  }
  return paths;
}

ProgramRun fit(std::vector<std::string> traces, const std::vector<std::string>& more) {
  std::vector<std::string> args = {"fit-budgets"};
  args.insert(args.end(), traces.begin(), traces.end());
  args.insert(args.end(), more.begin(), more.end());
  return run(args);
}

// One line on the error stream, this exit code, and no file.
std::string refused_fit(const TemporaryFolder& folder, int exit_code, const std::vector<std::string>& traces,
                        const std::vector<std::string>& more) {
  const std::string output = folder.file("refused.h5");
  std::vector<std::string> args = more;
  args.insert(args.end(), {"-o", output});
  const ProgramRun done = fit(traces, args);
  CHECK_MESSAGE(done.exit_code == exit_code, done.err);
  CHECK(done.out.empty());
  for (const char* suffix : {"", ".tmp"}) CHECK(!std::filesystem::exists(output + suffix));
  return done.err;
}

LearnedPolicy fitted(const std::string& path, const std::vector<std::string>& traces,
                     const std::vector<std::string>& more) {
  std::vector<std::string> args = more;
  args.insert(args.end(), {"-o", path, "--force", "-q"});
  const ProgramRun done = fit(traces, args);
  REQUIRE_MESSAGE(done.exit_code == 0, done.err);
  return read_learned_policy_file(path);
}

}  // namespace

TEST_CASE("each case's damage is measured by that of all its heads at 9 %, then averaged by weight") {
  // Two heads, 14 points; the seventh is 0.09. A head loses size (1 - x)^power.
  const std::span<const double> grid = damage_grid();
  const auto two_heads = [&](double first, double first_power, double second, double second_power) {
    DamageCurves curves(2);
    for (const double x : grid) {
      curves[0].push_back(first * std::pow(1 - x, first_power));
      curves[1].push_back(second * std::pow(1 - x, second_power));
    }
    return curves;
  };
  std::vector<DamageCurves> damage = {two_heads(16, 8, 2, 1), two_heads(4, 1, 4, 8)};
  const double a = 16 * std::pow(0.91, 8) + 2 * 0.91, b = 4 * 0.91 + 4 * std::pow(0.91, 8);
  const std::vector<std::string> cases = {"a", "b"};
  const std::vector<DamageCurves> normal = {two_heads(16 / a, 8, 2 / a, 1), two_heads(4 / b, 1, 4 / b, 8)};
  const std::vector<double> weights = case_weights(normal, grid, 0.25);
  const DamageCurves expected = weighted_mean(normal, weights), found = joint_curves(damage, cases);
  CHECK(weights[0] > 1.2);  // it can gain most: nearly all that it loses is in one head that falls fast
  CHECK(weights[0] + weights[1] == doctest::Approx(2).epsilon(1e-12));
  for (std::size_t h = 0; h < 2; ++h)
    for (std::size_t p = 0; p < grid.size(); ++p) CHECK(found[h][p] == doctest::Approx(expected[h][p]).epsilon(1e-12));
  CHECK(found[0][6] + found[1][6] == doctest::Approx(1).epsilon(1e-12));
  damage[1][1][3] = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_WITH_AS(joint_curves(damage, cases), "case b: the damage of a head is not a finite number", InputError);
  damage[1] = two_heads(0, 1, 0, 1);
  CHECK_THROWS_AS(joint_curves(damage, cases), InputError);
}

TEST_CASE("curves are measured at shares of each prompt, at the floor where they are below it") {
  // 1000 tokens: 4, 8, 15 become 20; then 25, 40, 60, 90, ...
  const BudgetGrid budgets = grid_tokens(1000, 20);
  CHECK(budgets.kind == BudgetKind::tokens);
  CHECK(budgets.values == std::vector<double>{20, 20, 20, 25, 40, 60, 90, 130, 180, 250, 350, 500, 700, 1000});
  CHECK(grid_tokens(10, 20).values == std::vector<double>(14, 10));
}

TEST_CASE("fit-budgets writes curves and shares, the same whatever the threads; learned replays them") {
  const TemporaryFolder folder;
  std::vector<std::string> traces = write_traces(folder, 4);
  const std::string unseen = traces.back();
  traces.pop_back();
  const std::string table = folder.file("table.h5");
  const ProgramRun done =
      fit(traces, {"--scorer", "snapkv:window=8", "-o", table, "--threads", "1", "--compression-point", "prompt"});
  REQUIRE_MESSAGE(done.exit_code == 0, done.err);
  CHECK(contains(done.out, "budgets of 4 heads in 2 layers for snapkv:window=8, damage fisher, from 3 prompts"));
  CHECK(contains(done.err, "warning: 3 prompts are few"));
  CHECK(contains(done.err, "wrote " + table));

  const LearnedPolicy policy = read_learned_policy_file(table);
  CHECK(policy.layers == std::vector<std::size_t>{0, 1});
  CHECK(!policy.scorer);
  const LearnedBudgets& budgets = *policy.budgets;
  CHECK(budgets.scorer == "snapkv:window=8");
  CHECK(budgets.metric == "fisher");
  CHECK(budgets.prompt_length == 272);  // of 256, 272, 288
  CHECK(budgets.uniform_mix == 0);
  CHECK(budgets.keep_first == 4);
  CHECK(budgets.least_tokens == 20);
  CHECK(budgets.trained_on.size() == 3);
  REQUIRE(budgets.grid.size() == 14);
  double unit = 0;
  for (std::size_t h = 0; h < 4; ++h) {
    unit += double{budgets.curve[h * 14 + 6]};
    CHECK(budgets.curve[h * 14 + 13] == 0);
  }
  CHECK(unit == doctest::Approx(1).epsilon(1e-6));
  for (std::size_t r = 0; r < budgets.retained.size(); ++r)
    CHECK(std::accumulate(&budgets.fraction[r * 4], &budgets.fraction[r * 4] + 4, 0.0) / 4 ==
          doctest::Approx(budgets.retained[r]).epsilon(1e-6));

  const std::string other = folder.file("other.h5");
  fitted(other, traces, {"--scorer", "snapkv:window=8", "--threads", "3", "--compression-point", "prompt"});
  CHECK(content_of(table) == content_of(other));

  const std::string text = "snapkv:window=8+learned:table=" + table;
  const Dataset results = replayed(folder, {unseen, "-p", "snapkv:window=8," + text, "-b", "0.1,0.25", "-m",
                                            "kept_fraction,predicted_kl", "--compression-point", "prompt"});
  CHECK(contains(refused(folder, 3, {traces[0], "-p", text, "-b", "0.25"}), "its budgets were fitted on this prompt"));
  CHECK(contains(refused(folder, 3, {unseen, "-p", text, "-b", "t1"}), "its curves were measured from 0.004"));
}

TEST_CASE("the curves of a table are what each head loses at that budget") {
  const TemporaryFolder folder;
  const std::vector<std::string> traces = write_traces(folder, 2);
  const std::vector<std::string> what = {"--scorer", "knorm", "--compression-point", "prompt"};
  const LearnedBudgets budgets = *fitted(folder.file("t.h5"), traces, what).budgets;
  // knorm's retained sets are prefixes: more of them lose nothing at all in the end, and something at 9 %.
  for (std::size_t h = 0; h < 4; ++h) CHECK(budgets.curve[h * 14 + 6] > 0);
  // 256 tokens: 0.004 to 0.06 are all below the floor of 20 and measured there.
  for (std::size_t p = 1; p < 6; ++p) CHECK(budgets.curve[p] == budgets.curve[0]);
  std::vector<std::string> lower = what;
  lower.insert(lower.end(), {"--least", "2", "--uniform-mix", "0"});
  const LearnedBudgets other = *fitted(folder.file("u.h5"), traces, lower).budgets;
  CHECK(other.least_tokens == 2);
  CHECK(other.uniform_mix == 0);
  CHECK(other.curve[5] != other.curve[0]);
}

TEST_CASE("a head that keeps sinks anyway loses something else") {
  const TemporaryFolder folder;
  const std::vector<std::string> traces = write_traces(folder, 2);
  const auto with_sinks = [&](const char* sinks) {
    return *fitted(folder.file("t.h5"), traces,
                   {"--scorer", "snapkv:window=8", "--compression-point", "prompt", "--sinks", sinks})
                .budgets;
  };
  const LearnedBudgets none = with_sinks("0"), six = with_sinks("6");
  CHECK(none.keep_first == 0);
  CHECK(six.keep_first == 6);
  CHECK(none.curve != six.curve);
  // The whole cache is the whole cache.
  for (std::size_t h = 0; h < 4; ++h) CHECK(six.curve[h * 14 + 13] == 0);
}

TEST_CASE("without sensitivities damage is the projected error, with a warning") {
  const TemporaryFolder folder;
  const std::vector<std::string> traces = write_traces(folder, 2, 0);
  const ProgramRun done = fit(traces, {"--scorer", "knorm", "-o", folder.file("t.h5"), "-q"});
  CHECK_MESSAGE(done.exit_code == 0, done.err);
  CHECK(contains(done.err, "warning: no sensitivities are recorded in these traces; damage is ||W_O (o' - o)||^2"));
  CHECK(read_learned_policy_file(folder.file("t.h5")).budgets->metric == "abs");
  CHECK(contains(refused_fit(folder, 3, traces, {"--scorer", "knorm", "--metric", "fisher"}), "has no sensitivities"));

  std::vector<std::string> mixed = {traces[0]};
  const TemporaryFolder with;
  mixed.push_back(write_traces(with, 2)[1]);
  CHECK(contains(refused_fit(folder, 3, mixed, {"--scorer", "knorm"}), "has no sensitivities, others have"));
}

TEST_CASE("a learned scorer's table is in one file with it, from networks that have not seen the prompt") {
  const TemporaryFolder folder;
  const std::vector<std::string> traces = write_traces(folder, 3);
  const TraceReader reader(traces[0]);
  LearnedPolicy policy = learned_policy(reader.info().model);
  policy.scorer = random_scorer(reader.info().model, "lkv");
  const std::vector<std::string> two(traces.begin(), traces.begin() + 2);
  // Digests of the prompts, from a table.
  const std::vector<std::string> prompts = fitted(folder.file("d.h5"), two, {"--scorer", "knorm"}).budgets->trained_on;
  policy.scorer->networks.trained_on = prompts;
  policy.scorer->folds = {random_scorer(reader.info().model, "lkv", 2).networks,
                          random_scorer(reader.info().model, "lkv", 3).networks};
  policy.scorer->folds[0].trained_on = {prompts[0]};
  policy.scorer->folds[1].trained_on = {prompts[1]};
  const std::string scorer = folder.file("scorer.h5");
  write_learned_policy_file(scorer, policy);

  CHECK(contains(refused_fit(folder, 3, two, {"--scorer", "lkv:file=" + scorer}), "trained on this prompt"));
  const LearnedPolicy whole =
      fitted(folder.file("whole.h5"), two, {"--scorer", "lkv:file=" + scorer + ",trained=fold"});
  REQUIRE(whole.scorer);
  CHECK(whole.scorer->folds.size() == 2);
  CHECK(whole.scorer->networks.w1 == policy.scorer->networks.w1);
  CHECK(whole.budgets->trained_on == prompts);
  // Networks that have seen them give other curves.
  const LearnedPolicy seen = fitted(folder.file("seen.h5"), two, {"--scorer", "lkv:file=" + scorer + ",trained=allow"});
  CHECK(seen.budgets->curve != whole.budgets->curve);
  const std::string text = "lkv:file=" + folder.file("whole.h5");
  replayed(folder, {traces[2], "-p", text, "-b", "0.25", "-m", "kept_fraction"});
  // The file that it is made of is read, and never written.
  const std::string before = content_of(scorer);
  const ProgramRun over = fit(two, {"--scorer", "lkv:file=" + scorer + ",trained=fold", "-o", scorer, "--force"});
  CHECK(over.exit_code == 2);
  CHECK(contains(over.err, "it is read, and would be lost"));
  CHECK(content_of(scorer) == before);
}

TEST_CASE("fit-budgets refuses what cannot be fitted") {
  const TemporaryFolder folder;
  const std::vector<std::string> traces = write_traces(folder, 2);
  const std::vector<std::string> one = {traces[0]};
  CHECK(contains(refused_fit(folder, 2, traces, {}), "fit-budgets needs --scorer"));
  CHECK(contains(fit(traces, {"--scorer", "knorm"}).err, "fit-budgets needs --output"));
  CHECK(contains(refused_fit(folder, 3, one, {"--scorer", "knorm"}), "1 prompt: budgets need at least 2"));
  CHECK(contains(refused_fit(folder, 2, traces, {"--scorer", "ada-snapkv"}), "has budgets of its own ('ada')"));
  CHECK(contains(refused_fit(folder, 2, traces, {"--scorer", "knorm+pyramid"}), "has budgets of its own"));
  CHECK(contains(refused_fit(folder, 2, traces, {"--scorer", "knorm,tova"}), "a table is of one scorer"));
  CHECK(contains(refused_fit(folder, 2, traces, {"--scorer", "snapkw"}), "snapkv"));
  CHECK(contains(refused_fit(folder, 2, traces, {"--scorer", "knorm", "--uniform-mix", "1.5"}), "from 0 to 1"));
  CHECK(contains(refused_fit(folder, 2, traces, {"--scorer", "knorm", "--least", "0"}), "--least 0"));
  CHECK(contains(refused_fit(folder, 2, traces, {"--scorer", "knorm", "--metric", "l2"}), "l2"));
  CHECK(contains(refused_fit(folder, 3, traces, {"--scorer", "full"}), "nothing is lost at 9 %"));
  CHECK(contains(refused_fit(folder, 3, {folder.file("none.h5")}, {"--scorer", "knorm"}), "none.h5"));

  const std::string output = folder.file("there.h5");
  std::ofstream(output) << "mine";
  const ProgramRun kept = fit(traces, {"--scorer", "knorm", "-o", output});
  CHECK(kept.exit_code == 2);
  CHECK(contains(kept.err, "exists; --force overwrites it"));
  CHECK(content_of(output) == "mine");
}

TEST_CASE("a corrupt table is refused when it is used") {
  const TemporaryFolder folder;
  const std::vector<std::string> traces = write_traces(folder, 3);
  const std::string table = folder.file("t.h5");
  fitted(table, {traces[0], traces[1]}, {"--scorer", "knorm"});
  const std::string whole = content_of(table), text = "knorm+learned:table=" + table;
  replayed(folder, {traces[2], "-p", text, "-b", "0.25", "-m", "kept_fraction"});
  std::ofstream(table, std::ios::binary) << whole.substr(0, whole.size() / 2);
  CHECK(contains(refused(folder, 3, {traces[2], "-p", text}), "t.h5"));
  // A number of the curves: their check sum tells.
  const LearnedPolicy read = [&] {
    std::ofstream(table, std::ios::binary) << whole;
    return read_learned_policy_file(table);
  }();
  const std::string bytes(reinterpret_cast<const char*>(read.budgets->curve.data()), 8 * sizeof(float));
  const std::size_t at = whole.find(bytes);
  REQUIRE(at != std::string::npos);
  std::string damaged = whole;
  damaged[at] = static_cast<char>(damaged[at] ^ 1);
  std::ofstream(table, std::ios::binary) << damaged;
  CHECK(contains(refused(folder, 3, {traces[2], "-p", text}), "t.h5"));
}
