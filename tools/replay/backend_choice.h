#pragma once
// What replays run on.

#include <atomic>
#include <functional>
#include <iosfwd>
#include <memory>
#include <mutex>
#include <string>

#include "core/engine/backend.h"

namespace kvreplay {

/// What a user asked for, in the user's words: --backend and --device.
struct BackendOptions {
  std::string backend = "auto";
  std::string devices;
};

/// The backend that was asked for; with `auto` a GPU where one works, and the CPU from where it fails on.
class BackendChoice {
 public:
  /// \param talk  told which GPU is taken, and what fails; outlives this
  /// Throws UsageError: no such backend, a bad list of devices. DeviceError: `cuda`, and no device that works.
  BackendChoice(const BackendOptions& options, std::ostream& talk);

  /// Calls work(backend); again with the CPU's where a GPU fails and nobody insisted on it.
  void with(const std::function<void(Backend&)>& work);

 private:
  void give_up(const std::string& why);

  std::ostream& talk_;
  bool insists_ = false;
  std::unique_ptr<Backend> gpu_, cpu_;
  std::atomic<bool> failed_ = false;
  std::mutex talking_;
};

}  // namespace kvreplay
