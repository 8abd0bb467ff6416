#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <iostream>
#include <string_view>

#include "core/cpu/blas_core.h"
#include "tests/tools/cli/program_process.h"
#include "tools/cli/command.h"
#include "traces/learned/learned_policy_file.h"

int main(int argc, char** argv) {
  kvreplay::choose_blas_core(argv);  // tests judge the kernels that users get
  if (argc > 1 && std::string_view(argv[1]) == kvreplay::testing::kAsProgram) {
    const std::vector<std::string> args(argv + 2, argv + argc);
    return kvreplay::run_program(args, std::cout, std::cerr);
  }
  kvreplay::use_learned_policy_files();
  return doctest::Context(argc, argv).run();
}
