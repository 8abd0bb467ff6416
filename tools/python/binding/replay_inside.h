#pragma once
// The replay command in the interpreter's own process.

#include <nanobind/nanobind.h>

#include <cstdint>
#include <string>
#include <vector>

namespace kvreplay::python {

namespace nb = nanobind;

/// What the command prints. Called by Python's thread, which looks for signals meanwhile; Ctrl-C, and what `heard`
/// throws, ends the replay once units in flight notice it.
/// \param words  after `replay`
/// \param parts  rows_of()
/// \param heard  gets each line that the command says
/// \param progress_ms  between two lines of progress
std::string replay_inside(const std::vector<std::string>& words, const nb::list& parts, const nb::object& heard,
                          std::int64_t progress_ms);

}  // namespace kvreplay::python
