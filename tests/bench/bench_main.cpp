#include "tests/bench/bench_main.h"

#include <cstdio>
#include <exception>

#include "core/cpu/blas_core.h"

namespace kvreplay::bench {

int run_bench(int argc, char** argv, int (*run)(int argc, char** argv)) {
  choose_blas_core(argv);
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}

}  // namespace kvreplay::bench
