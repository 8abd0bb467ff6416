#include "tools/replay/backend_choice.h"

#include <fmt/format.h>
#include <fmt/ostream.h>

#include <algorithm>
#include <charconv>
#include <ostream>
#include <vector>

#include "core/base/error.h"
#include "core/cpu/cpu_backend.h"
#include "core/cuda/cuda_backend.h"

namespace kvreplay {
namespace {

std::vector<int> parse_devices(const std::string& text) {
  std::vector<int> devices;
  for (std::size_t begin = 0; begin <= text.size() && !text.empty();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    int device = -1;
    const auto [rest, error] = std::from_chars(text.data() + begin, text.data() + end, device);
    if (error != std::errc() || rest != text.data() + end || device < 0)
      throw UsageError(fmt::format("--device {}: expected numbers of GPUs, like 0 or 0,1", text));
    devices.push_back(device);
    begin = end + 1;
  }
  return devices;
}

std::string names_of(const std::vector<int>& devices) {
  std::string names;
  for (const CudaDevice& device : cuda_devices().devices)
    if (devices.empty() || std::ranges::find(devices, device.index) != devices.end())
      names += fmt::format("{}GPU {} ({}, {:.0f} GB)", names.empty() ? "" : ", ", device.index, device.name,
                           static_cast<double>(device.memory) / 1e9);
  return names;
}

}  // namespace

BackendChoice::BackendChoice(const BackendOptions& options, std::ostream& talk)
    : talk_(talk), insists_(options.backend == "cuda"), cpu_(make_cpu_backend()) {
  if (options.backend != "auto" && options.backend != "cpu" && options.backend != "cuda")
    throw UsageError(fmt::format("--backend {}: expected auto, cpu or cuda", options.backend));
  const std::vector<int> devices = parse_devices(options.devices);
  if (options.backend == "cpu") {
    if (!devices.empty()) throw UsageError("--device names GPUs, and --backend cpu uses none");
    return;
  }
  if (!insists_ && devices.empty() && cuda_devices().devices.empty()) return;
  try {
    gpu_ = make_cuda_backend(devices);
    fmt::print(talk_, "replaying on {}\n", names_of(devices));
  } catch (const DeviceError& error) {
    if (insists_ || !devices.empty()) throw DeviceError(fmt::format("--backend {}: {}", options.backend, error.what()));
    give_up(error.what());
  }
}

void BackendChoice::give_up(const std::string& why) {
  const std::lock_guard lock(talking_);
  if (!failed_.exchange(true)) fmt::print(talk_, "going on without a GPU: {}\n", why);
}

void BackendChoice::with(const std::function<void(Backend&)>& work) {
  if (gpu_ != nullptr && !failed_) {
    try {
      return work(*gpu_);
    } catch (const DeviceError& error) {
      if (insists_) throw;
      give_up(error.what());
    }
  }
  work(*cpu_);
}

}  // namespace kvreplay
