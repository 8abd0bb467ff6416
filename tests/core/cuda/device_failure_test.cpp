// What becomes of a replay when a call of CUDA fails: one exception that names the call, and a process that goes on.

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/base/parallel.h"
#include "core/cpu/cpu_backend.h"
#include "core/cuda/cuda_backend.h"
#include "tests/cuda_emulation/error_injection.h"
#include "tests/cuda_emulation/settings.h"
#include "tests/support/random_layer.h"
#include "tools/replay/unit_replay.h"

using namespace kvreplay;
using namespace kvreplay::testing;
using emulation::Call;

namespace {

double error_sum(const LayerData& layer, Backend& backend) {
  std::vector<Policy> policies;
  for (const char* name : {"knorm", "h2o", "snapkv:window=5", "expected-attention", "value-norm:of=value"})
    policies.emplace_back(name);
  const std::vector<ChosenMetric> metrics = {ChosenMetric("output_error"), ChosenMetric("projected_error"),
                                             ChosenMetric("capacity")};
  const BudgetGrid budgets{.kind = BudgetKind::tokens, .values = {3, 11}};
  const std::vector<Span> spans;
  UnitResult result;
  with_threads(1, [&] {
    result = replay_unit({.data = &layer,
                          .dtype = DType::float16,
                          .spans = &spans,
                          .compression_point = 30,
                          .policies = &policies,
                          .budgets = &budgets,
                          .metrics = metrics,
                          .identity = {}},
                         backend);
  });
  double sum = 0;
  for (const double numerator : result.sums[0].numerator) sum += numerator;
  return sum;
}

}  // namespace

TEST_CASE("whichever call fails, the error names it, and the same backend goes on") {
  const LayerData layer = random_layer({.hidden_size = 24, .n_tokens = 50});
  const double expected = error_sum(layer, *make_cpu_backend());
  for (const auto& [call, name] :
       {std::pair{Call::allocation, "allocation"}, std::pair{Call::launch, "launch"}, std::pair{Call::copy, "copy"},
        std::pair{Call::stream, "stream"}, std::pair{Call::library, "library"}}) {
    const std::size_t before = emulation::n_calls(call);
    CHECK(error_sum(layer, *make_cuda_backend()) == doctest::Approx(expected).epsilon(2e-5));
    const std::size_t n = emulation::n_calls(call) - before;
    CAPTURE(name);
    REQUIRE(n > 0);
    for (std::size_t i = 1; i <= n; ++i) {
      CAPTURE(i);
      std::string message;
      try {
        emulation::inject_error(call, i);
        const auto backend = make_cuda_backend();
        try {
          error_sum(layer, *backend);
        } catch (const DeviceError& error) {
          message = error.what();
          emulation::clear_injected_errors();
          CHECK(error_sum(layer, *backend) == doctest::Approx(expected).epsilon(2e-5));
        }
      } catch (const DeviceError& error) {
        message = error.what();
      }
      emulation::clear_injected_errors();
      // A first failure of an allocation is made good by what lies idle, or by nothing at all where it was enough.
      if (call != Call::allocation) CHECK(message.find("core/cuda/") != std::string::npos);
    }
  }
}

TEST_CASE("a device that fails for good leaves the CPU backend") {
  const LayerData layer = random_layer({.hidden_size = 24, .n_tokens = 50});
  const auto cpu = make_cpu_backend();
  const double expected = error_sum(layer, *cpu);
  {
    const auto backend = make_cuda_backend();
    emulation::inject_error(Call::wait, 2);
    CHECK_THROWS_AS(error_sum(layer, *backend), DeviceError);
    CHECK_THROWS_AS(error_sum(layer, *backend), DeviceError);
    CHECK(error_sum(layer, *cpu) == expected);
  }
  emulation::clear_injected_errors();
}

TEST_CASE("memory that does not suffice is named with its sizes") {
  const LayerData layer = random_layer({.hidden_size = 24, .n_tokens = 50});
  const auto backend = make_cuda_backend();
  const std::size_t memory = emulation::settings().memory;
  emulation::settings().memory = 8192;
  std::string message;
  try {
    error_sum(layer, *backend);
  } catch (const DeviceError& error) {
    message = error.what();
  }
  emulation::settings().memory = memory;
  CHECK(message.find("has no room for") != std::string::npos);
  CHECK(error_sum(layer, *backend) > 0);
}

TEST_CASE("a GPU that is not there is refused by number") {
  const int missing[] = {7};
  CHECK_THROWS_WITH_AS(make_cuda_backend(missing), "there is no GPU 7; there are 1 of them, from 0 on", DeviceError);
}

TEST_CASE("units are spread over several GPUs and come out the same") {
  const int devices = emulation::settings().devices;
  emulation::settings().devices = 2;
  {
    const LayerData layer = random_layer({.hidden_size = 24, .n_tokens = 50}),
                    other = random_layer({.hidden_size = 24, .n_tokens = 50, .seed = 2});
    const auto backend = make_cuda_backend();
    const auto held = backend->hold(other, DType::float32);  // on the first
    const double expected = error_sum(layer, *make_cpu_backend());
    CHECK(error_sum(layer, *backend) == doctest::Approx(expected).epsilon(2e-5));
  }
  emulation::settings().devices = devices;
}
