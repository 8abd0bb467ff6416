// The engine's side of the comparison with others (peers.py), everything in memory as it is for them: retained sets are
// made and tensors read beforehand; a unit's attention, or its column sums, is timed.
//   build/kvreplay_peer_bench TRACE POINT LAYERS THREADS BUDGETS FOLDER POLICY...
// writes FOLDER/errors (float64 [layer, q_head, policy, budget], squared), FOLDER/norms (float64 [layer, q_head],
// squared) and FOLDER/sums (float32 [layer, q_head, candidate]) and says `ready`. Then it does what each line on stdin
// asks for and answers with one number: so the caller's rounds and ours can alternate.
//   replay, sums         milliseconds a layer, one layer after the other, threads sharing what is in it
//   replay side-by-side, sums side-by-side    the same, as many layers at once as there are threads
//   sgemm                GFLOP/s of all threads, a product of 1024 x 1024 each

#include <cblas.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <numeric>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/base/parallel.h"
#include "core/contracts/metric.h"
#include "core/cpu/cpu_backend.h"
#include "tests/bench/bench_main.h"
#include "tools/replay/unit_replay.h"
#include "traces/trace/trace_reader.h"

namespace kvreplay::bench {
namespace {

struct Unit {
  LayerData data;
  Range candidates = {};
  std::vector<LayerSelection> selections = {};
};

class PeerBench {
 public:
  PeerBench(const std::string& path, const std::string& point_name, const std::string& layers,
            const std::string& budgets, const std::vector<std::string>& policies) {
    const TraceReader trace(path);
    std::size_t point = 0;
    for (const CompressionPoint& each : trace.info().samples.front().compression_points)
      if (each.name == point_name) point = each.position;
    if (point == 0) throw UsageError("the first sample has no compression point '" + point_name + "'");
    for (std::size_t l = 0; l < trace.info().layers.size(); ++l)
      if (is_listed(trace.info().layers[l].index, layers)) units_.push_back({.data = trace.read_layer(0, l)});
    if (units_.empty()) throw UsageError("the trace has none of the layers " + layers);
    const BudgetGrid grid = parse_budgets(budgets);
    n_budgets_ = grid.values.size();
    const std::vector<Policy> chosen(policies.begin(), policies.end());
    parallel_for(units_.size(), [&](std::size_t i) {
      Unit& unit = units_[i];
      unit.candidates = candidates_at(point, unit.data.layer, false);
      if (const std::string missing = missing_queries(unit.data.query_positions, unit.candidates, kAll);
          !missing.empty())
        throw UsageError(missing);
      std::vector<Budget> tokens;
      for (std::size_t b = 0; b < n_budgets_; ++b) tokens.push_back(grid.at(b, unit.candidates.size()));
      const PromptView view(unit.data, unit.candidates, *backend_);
      for (const Policy& policy : chosen) unit.selections.push_back(policy.select(view, tokens));
    });
  }

  /// Sums over the evaluation queries, per query head: squared errors, and squared norms of the full outputs.
  MetricSums replay(const Unit& unit) const {
    const ReplayInput input{.layer = &unit.data,
                            .candidates = unit.candidates,
                            .query_rows = evaluation_rows(unit.data, unit.candidates.end)};
    const UnitShape shape{.layer = &unit.data,
                          .candidates = unit.candidates,
                          .n_queries = input.query_rows.size(),
                          .n_policies = unit.selections.size(),
                          .n_budgets = n_budgets_};
    const auto accumulator = ChosenMetric("output_error").make(shape);
    OutputSink* const sinks[] = {accumulator.get()};
    backend_->replay(input, unit.selections, sinks);
    return accumulator->finish();
  }

  /// Attention that all prompt queries pay, [1, n_q_heads, n_candidates].
  Tensor sums(const Unit& unit) const {
    const ModelInfo& model = unit.data.model;
    const std::size_t n = unit.candidates.end;
    Tensor sums(1, model.n_q_heads, n);
    std::vector<ColumnTask> tasks;
    for (std::size_t h = 0; h < model.n_q_heads; ++h)
      tasks.push_back({unit.data.queries.matrix(h).rows_between(0, n),
                       unit.data.keys.matrix(h / model.group_size()).rows_between(0, n), sums.matrix(0).row(h)});
    backend_->attention_sums(attention_rule(model, unit.data.layer), std::span(unit.data.query_positions).first(n),
                             tasks);
    return sums;
  }

  void write(const std::string& folder) const {
    std::ofstream errors(folder + "/errors", std::ios::binary), norms(folder + "/norms", std::ios::binary),
        column_sums(folder + "/sums", std::ios::binary);
    const auto put = [](std::ofstream& out, const auto& values) {
      out.write(reinterpret_cast<const char*>(values.data()),
                static_cast<std::streamsize>(values.size() * sizeof(*values.data())));
    };
    for (const Unit& unit : units_) {
      const MetricSums replayed = replay(unit);
      put(errors, replayed.numerator);
      put(norms, replayed.denominator);
      put(column_sums, sums(unit).values());
    }
    if (!errors.flush() || !norms.flush() || !column_sums.flush()) throw SystemError("cannot write in " + folder);
  }

  /// Milliseconds a layer.
  template <typename Work>
  double time(const Work& work, bool side_by_side) const {
    const auto begun = std::chrono::steady_clock::now();
    if (side_by_side)
      parallel_in_order(units_.size(), n_threads_here(), [&](std::size_t i) { work(units_[i]); });
    else
      for (const Unit& unit : units_) work(unit);
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begun;
    return took.count() / static_cast<double>(units_.size());
  }

  double answer(const std::string& request) const {
    const bool side_by_side = request.ends_with(" side-by-side");
    const std::string what = request.substr(0, request.find(' '));
    if (what == "replay") return time([this](const Unit& unit) { replay(unit); }, side_by_side);
    if (what == "sums") return time([this](const Unit& unit) { sums(unit); }, side_by_side);
    if (what == "sgemm") return sgemm_rate();
    throw UsageError("unknown request '" + request + "'");
  }

 private:
  /// \param list  numbers with commas, or "all"
  static bool is_listed(std::size_t layer, const std::string& list) {
    return list == "all" || ("," + list + ",").find("," + std::to_string(layer) + ",") != std::string::npos;
  }

  static double sgemm_rate() {
    constexpr blasint n = 1024;
    constexpr int repetitions = 8;
    const std::vector<float> a(n * n, 1), b(n * n, 1);
    const auto begun = std::chrono::steady_clock::now();
    parallel_for(n_threads_here(), [&](std::size_t) {
      std::vector<float> c(n * n);
      for (int i = 0; i < repetitions; ++i)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, n, n, 1, a.data(), n, b.data(), n, 0, c.data(), n);
    });
    const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - begun;
    return 2.0 * n * n * n * repetitions * static_cast<double>(n_threads_here()) / took.count();
  }

  std::unique_ptr<Backend> backend_ = make_cpu_backend();
  std::vector<Unit> units_;
  std::size_t n_budgets_ = 0;
};

}  // namespace

static int run(int argc, char** argv) {
  if (argc < 8) throw UsageError("usage: kvreplay_peer_bench TRACE POINT LAYERS THREADS BUDGETS FOLDER POLICY...");
  with_threads(std::stoul(argv[4]), [&] {
    const PeerBench bench(argv[1], argv[2], argv[3], argv[5], {argv + 7, argv + argc});
    bench.write(argv[6]);
    std::cout << "ready" << std::endl;
    for (std::string request; std::getline(std::cin, request);) std::cout << bench.answer(request) << std::endl;
  });
  return 0;
}

}  // namespace kvreplay::bench

int main(int argc, char** argv) { return kvreplay::bench::run_bench(argc, argv, kvreplay::bench::run); }
