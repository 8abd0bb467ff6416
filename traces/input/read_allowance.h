#pragma once
// How much of a file may become memory: compression lets a few bytes stand for as many as anybody likes. Private to
// traces/.

#include <cstdint>

#include "traces/input/stored_array.h"
#include "traces/input/trust.h"
#include "traces/input/violation.h"

namespace kvreplay::hdf5 {

/// For what is read of a file whole and kept; tensors are read in parts, and planned for.
class ReadAllowance {
 public:
  explicit ReadAllowance(const StoredFile& file) : left_(kBase + kPerByte * file.bytes.size()), whole_(left_) {}

  /// Throws Violation when the array, as numbers of 8 bytes or texts, and those before it take more.
  void spend(const StoredArray& array) {
    const std::vector<std::string>& texts = array.indexed().values.texts;
    std::uint64_t n = texts.empty() ? array.size() : texts.size() * sizeof(std::string) / sizeof(double);
    for (const std::string& text : texts) n += text.size() / sizeof(double);
    if (input_is_trusted()) return;
    if (n > left_ / sizeof(double))
      throw Violation(fmt::format(
          "{}: expected at most {} bytes of numbers and texts in a file of {}, found more (--trust-input reads it)",
          array.path, whole_, array.file->bytes.size()));
    left_ -= n * sizeof(double);
  }

 private:
  static constexpr std::uint64_t kBase = 64 << 20, kPerByte = 32;

  std::uint64_t left_, whole_;
};

}  // namespace kvreplay::hdf5
