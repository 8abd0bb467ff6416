#pragma once
// main() of the benchmarks that take a trace.

namespace kvreplay::bench {

/// Runs with the BLAS kernels that this processor deserves; says on stderr what an exception says.
/// \return  exit status
int run_bench(int argc, char** argv, int (*run)(int argc, char** argv));

}  // namespace kvreplay::bench
