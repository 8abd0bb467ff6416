#include <unistd.h>

#include <iostream>
#include <string>
#include <vector>

#include "core/cpu/blas_core.h"
#include "tools/cli/command.h"
#include "tools/cli/extension.h"
#include "tools/cli/room_to_run.h"
#include "tools/cli/standard_streams.h"

int main(int argc, char** argv) {
  kvreplay::become_extension(argc, argv);
  kvreplay::choose_blas_core(argv);
  kvreplay::prepare_standard_streams();
  if (!kvreplay::has_room_to_run(std::cerr)) _exit(1);  // an orderly end takes memory too
  const std::vector<std::string> args(argv + (argc > 0 ? 1 : 0), argv + argc);
  const int exit_code = kvreplay::run_program(args, std::cout, std::cerr);
  return kvreplay::finish_standard_output(exit_code);
}
