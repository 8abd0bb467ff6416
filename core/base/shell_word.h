#pragma once
// Texts in commands that people copy.

#include <string>

namespace kvreplay {

/// As a shell takes it for one word: as it is where that is safe, else in single quotes.
std::string shell_word(const std::string& text);

}  // namespace kvreplay
