#pragma once
// What a bug that the emulation found ends with.

#include <string>

#include "tests/cuda_emulation/call_site.h"

namespace kvreplay::emulation {

/// The program's exit status after fatal().
inline constexpr int kFatalStatus = 97;

/// Ends the program with a message: "emulation: MESSAGE at FILE:LINE [block x,y,z thread x,y,z]". Place and thread are
/// left out where there are none.
[[noreturn]] void fatal(const std::string& message, const CallSite* site = nullptr);

}  // namespace kvreplay::emulation
