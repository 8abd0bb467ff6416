// --backend and --device from the command line. What a GPU computes is judged in tests/core/cuda.

#include <doctest/doctest.h>

#include "core/cuda/cuda_backend.h"
#include "tests/tools/cli/replay_fixture.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("backends and devices that mean nothing are usage errors") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder);
  CHECK(contains(refused(folder, 2, {trace, "--backend", "gpu"}), "--backend gpu: expected auto, cpu or cuda"));
  CHECK(contains(refused(folder, 2, {trace, "--device", "first"}), "--device first: expected numbers of GPUs"));
  CHECK(contains(refused(folder, 2, {trace, "--device", "0,"}), "expected numbers of GPUs"));
  CHECK(contains(refused(folder, 2, {trace, "--backend", "cpu", "--device", "0"}), "--backend cpu uses none"));
}

TEST_CASE("who insists on a GPU that is not there gets exit code 5, and nothing is left behind") {
  if (!cuda_devices().devices.empty()) {
    MESSAGE("skipped: this machine has a GPU");
    return;
  }
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder);
  CHECK(contains(refused(folder, 5, {trace, "--backend", "cuda"}), cuda_devices().why_none));
  CHECK(contains(refused(folder, 5, {trace, "--device", "0"}), cuda_devices().why_none));
}
