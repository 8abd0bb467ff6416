#pragma once
// Where in the kernels a barrier or warp operation stands.

namespace kvreplay::emulation {

/// A line of source. Device functions take one as their last, defaulted argument, which names their caller.
/// (std::source_location would do, but clang 14 cannot take libstdc++ 12's.)
struct CallSite {
  const char* file = "";
  unsigned line = 0;

  static constexpr CallSite here(const char* file = __builtin_FILE(), unsigned line = __builtin_LINE()) {
    return {file, line};
  }
};

}  // namespace kvreplay::emulation
