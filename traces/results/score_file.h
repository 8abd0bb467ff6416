#pragma once
// Scores made elsewhere: one array per sample and layer, for `replay --scores`.

#include <filesystem>
#include <memory>
#include <string>

#include "core/contracts/scores.h"
#include "core/evidence/prompt_view.h"

namespace kvreplay {

/// Scores that another program computed, as docs/formats/scores.md has them.
class ScoreFile {
 public:
  /// Throws InputError when it is no HDF5 file.
  explicit ScoreFile(const std::filesystem::path& path);
  ~ScoreFile();
  ScoreFile(const ScoreFile&) = delete;
  ScoreFile& operator=(const ScoreFile&) = delete;

  /// The scores of the view's candidates. Throws InputError: no such array, wrong shape, NaN or infinity.
  Scores read(const PromptView& view) const;

  std::string fingerprint() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvreplay
