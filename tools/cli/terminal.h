#pragma once
// What the program knows of the place where its text is read.

#include <ostream>

#include "analysis/compare/text_style.h"

namespace kvreplay {

/// Whether a stream is this program's standard output or error, and that a terminal.
bool is_terminal(const std::ostream& out);

/// Width: of the terminal (COLUMNS, else what it says itself), TextStyle::kWidth elsewhere. Characters beyond ASCII: as
/// LC_ALL, else LC_CTYPE, else LANG names them. Colour: on a terminal, unless NO_COLOR is set or TERM is dumb.
TextStyle text_style(const std::ostream& out);

}  // namespace kvreplay
