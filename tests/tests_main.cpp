#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include "core/cpu/blas_core.h"

int main(int argc, char** argv) {
  kvreplay::choose_blas_core(argv);  // tests judge the kernels that users get
  return doctest::Context(argc, argv).run();
}
