#pragma once
// Runs the program as a function.

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/temporary_folder.h"
#include "tools/cli/command.h"

namespace kvreplay::testing {

struct ProgramRun {
  int exit_code = 0;
  std::string out;
  std::string err;
};

inline ProgramRun run(const std::vector<std::string>& args) {
  std::ostringstream out, err;
  const int exit_code = run_program(args, out, err);
  return {.exit_code = exit_code, .out = out.str(), .err = err.str()};
}

inline std::string content_of(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace kvreplay::testing
