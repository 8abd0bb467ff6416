// The machine's single-precision matrix rate on one thread, beside whatever else a program times.

#include <benchmark/benchmark.h>
#include <cblas.h>

#include <vector>

namespace kvreplay::bench {
namespace {

void sgemm_peak(benchmark::State& state) {
  constexpr blasint n = 1024;
  openblas_set_num_threads(1);
  const std::vector<float> a(n * n, 1), b(n * n, 1);
  std::vector<float> c(n * n);
  for (auto _ : state)
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, n, n, 1, a.data(), n, b.data(), n, 0, c.data(), n);
  state.counters["flops"] = benchmark::Counter(2.0 * n * n * n, benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(sgemm_peak)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace kvreplay::bench
