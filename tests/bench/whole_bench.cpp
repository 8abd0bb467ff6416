// The main job as a user starts it, against the machine's matrix rate: 30 policies, 16 budgets, all metrics, all layers
// of recorded traces; reading, scoring and writing are in the time.
//   build/kvreplay_whole_bench TRACE... [Google Benchmark options]

#include <benchmark/benchmark.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <iostream>
#include <numeric>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "tests/bench/bench_main.h"
#include "tools/replay/replay_estimate.h"

extern char** environ;

namespace kvreplay::bench {
namespace {

namespace fs = std::filesystem;

// No two of them the same, none of the slow references, and none that needs a probe.
const std::string kPolicies =
    "cake,caote,capkv,compactor,cur,defensive,expected-attention,h2o,jacap,keydiff,knorm,lagkv,lava,leverage,"
    "non-causal,oracle,random,sage-kv,snapkv,streaming-llm,tova,value-norm,ada-snapkv,critical-snapkv,pyramidkv,"
    "observed-attention,chunkkv,squeeze-streaming,ada-expected-attention,vatp";

// Floating-point operations by the program's own estimate (--dry-run), those of double precision twice.
double counted_flops(const std::string& trace) {
  ReplayOptions options;
  options.traces = {trace};
  options.policies = {kPolicies};
  const ReplayPlan plan = make_replay_plan(options, std::cerr);
  const std::vector<double> flops = flops_of(unit_costs(plan, {}));
  return std::accumulate(flops.begin(), flops.end(), 0.0);
}

// Runs a program to its end.
// \return  its peak of memory in bytes
double peak_of_run(std::vector<std::string> words) {
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  pid_t child = 0;
  if (posix_spawn(&child, arguments[0], nullptr, nullptr, arguments.data(), environ) != 0)
    throw SystemError("cannot start " + words[0]);
  int status = 0;
  rusage usage{};
  if (wait4(child, &status, 0, &usage) != child || status != 0) throw SystemError(words[0] + " failed");
  return 1024.0 * static_cast<double>(usage.ru_maxrss);
}

void whole(benchmark::State& state, const fs::path& program, const std::string& trace, double flops) {
  const fs::path results = fs::temp_directory_path() / ("kvreplay-whole-" + std::to_string(getpid()) + ".h5");
  for (auto _ : state)
    state.counters["peak_bytes"] = peak_of_run({program, "replay", trace, "--policy", kPolicies, "--output", results,
                                                "--force", "--quiet", "--threads", std::to_string(state.range(0))});
  fs::remove(results);
  state.counters["flops"] = benchmark::Counter(flops, benchmark::Counter::kIsIterationInvariantRate);
}

}  // namespace

static int run(int argc, char** argv) {
  const fs::path program = fs::path(argv[0]).parent_path() / "kvreplay";
  std::vector<std::string> traces;
  for (int i = 1; i < argc && argv[i][0] != '-'; ++i) traces.push_back(argv[i]);
  if (traces.empty()) throw UsageError("usage: kvreplay_whole_bench TRACE... [options]");
  for (const std::string& trace : traces)
    benchmark::RegisterBenchmark(("whole/" + fs::path(trace).stem().string()).c_str(), whole, program, trace,
                                 counted_flops(trace))
        ->ArgName("threads")
        ->Arg(1)
        ->Arg(2)
        ->Iterations(1)
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace kvreplay::bench

int main(int argc, char** argv) { return kvreplay::bench::run_bench(argc, argv, kvreplay::bench::run); }
