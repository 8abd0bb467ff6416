#pragma once
// The exceptions that end a command. Each carries the exit code that the user sees.

#include <stdexcept>
#include <string>

namespace kvreplay {

enum class ExitCode { ok = 0, failure = 1, usage = 2, bad_input = 3, incomplete = 4, no_device = 5 };

/// Base of every error that a user can cause or must hear of. `what()` is one line with the values in it.
class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ExitCode code() const noexcept { return code_; }

 private:
  ExitCode code_;
};

/// The command line asks for something that does not exist or contradicts itself.
class UsageError : public Error {
 public:
  explicit UsageError(const std::string& message) : Error(ExitCode::usage, message) {}
};

/// A file holds something other than what its format promises.
class InputError : public Error {
 public:
  explicit InputError(const std::string& message) : Error(ExitCode::bad_input, message) {}
};

/// Good input that one policy cannot be computed on (numbers beyond float32, too few tokens): others may be.
class UnfitError : public InputError {
 public:
  explicit UnfitError(const std::string& message) : InputError(message) {}
};

/// The environment failed: disk full, permission denied, out of memory.
class SystemError : public Error {
 public:
  explicit SystemError(const std::string& message) : Error(ExitCode::failure, message) {}
};

/// What was asked for needs parts that are not there (yet).
class IncompleteError : public Error {
 public:
  explicit IncompleteError(const std::string& message) : Error(ExitCode::incomplete, message) {}
};

/// A GPU is missing, or failed. The process can go on without it.
class DeviceError : public Error {
 public:
  explicit DeviceError(const std::string& message) : Error(ExitCode::no_device, message) {}
};

}  // namespace kvreplay
