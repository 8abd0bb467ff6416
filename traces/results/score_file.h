#pragma once
// Scores made elsewhere: one array per sample and layer, for `replay --scores`.

#include <string>

#include "core/contracts/scores.h"
#include "core/evidence/prompt_view.h"
#include "traces/input/input_file.h"

namespace kvreplay {

/// Scores that another program computed, as docs/formats/scores.md has them.
class ScoreFile {
 public:
  /// Throws InputError when it is no HDF5 file.
  explicit ScoreFile(InputFile file);

  /// Whether scores of this recording stand apart, under its fingerprint.
  bool has_recording(const std::string& fingerprint) const;

  /// The scores of the view's candidates: those of its recording where the file tells recordings apart. Throws
  /// InputError: no such array, wrong shape, NaN or infinity.
  Scores read(const PromptView& view) const;

  std::string fingerprint() const;

 private:
  Scores read_stored(const PromptView& view) const;

  InputFile file_;
};

}  // namespace kvreplay
