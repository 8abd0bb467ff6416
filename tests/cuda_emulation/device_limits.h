#pragma once
// What the emulated GPUs say they are: compute capability 8.6, which has the narrowest limits of those that the product
// is built for.

namespace kvreplay::emulation {

inline constexpr int kMajorVersion = 8;
inline constexpr int kMinorVersion = 6;
inline constexpr int kMultiprocessors = 4;  // few, as grids here are small
inline constexpr int kMaxBlockThreads = 1024;
inline constexpr int kMaxBlockDepth = 64;
inline constexpr int kMaxGridWidth = 2147483647;
inline constexpr int kMaxGridHeight = 65535;
inline constexpr int kMaxMultiprocessorThreads = 1536;
inline constexpr int kMaxMultiprocessorBlocks = 16;
inline constexpr int kDefaultSharedBytes = 48 << 10;  // of a block that did not ask for more by cudaFuncSetAttribute
inline constexpr int kReservedSharedBytes = 1024;     // of every block, by the system

}  // namespace kvreplay::emulation
