#include "tools/cli/command.h"

#include <fmt/format.h>
#include <fmt/ostream.h>

#include <algorithm>
#include <array>
#include <exception>
#include <new>
#include <vector>

#include "core/base/error.h"
#include "core/base/nearest_name.h"
#include "core/base/printable.h"
#include "tools/cli/commands.h"
#include "tools/cli/extension.h"
#include "traces/learned/learned_policy_file.h"

namespace kvreplay {
namespace {

void print_overview(std::ostream& out) {
  fmt::print(
      out,
      "kvreplay {}: replays recorded attention through KV-cache eviction policies and measures what each loses.\n\n"
      "Usage: kvreplay COMMAND [OPTIONS] ...\n\nCommands:\n",
      KVREPLAY_VERSION);
  for (const Command& command : all_commands()) fmt::print(out, "  {:<13}{}\n", command.name, command.summary);
  fmt::print(out, "\nOf the Python package (pip install 'kvreplay[record,import,train]'):\n");
  for (const PythonCommand& command : python_commands()) fmt::print(out, "  {:<13}{}\n", command.name, command.summary);
  fmt::print(out,
             "\n'kvreplay help COMMAND' explains a command; kvreplay-NAME on the PATH is the command NAME.\n"
             "Exit codes: 0 ok, 1 failure, 2 usage, 3 bad input, 4 incomplete, 5 no device.\n\n"
             "Example:\n"
             "  kvreplay synth -o trace.h5\n"
             "  kvreplay replay trace.h5 -o results.h5\n"
             "  kvreplay compare results.h5\n");
}

int dispatch(std::span<const std::string> args, std::ostream& out, std::ostream& err) {
  if (args.empty()) {
    print_overview(err);
    return static_cast<int>(ExitCode::usage);
  }
  const std::string& name = args.front();
  if (name == "--help" || name == "-h" || (name == "help" && args.size() == 1)) {
    print_overview(out);
    return static_cast<int>(ExitCode::ok);
  }
  if (name == "--version" || name == "-V") {
    fmt::print(out, "kvreplay {}\n", KVREPLAY_VERSION);
    return static_cast<int>(ExitCode::ok);
  }
  if (name == "help") {
    if (args.size() > 2) throw UsageError("help takes one command: kvreplay help COMMAND");
    const std::vector<std::string> asked{args[1], "--help"};
    return dispatch(asked, out, err);
  }
  std::vector<std::string> known;
  for (const Command& command : all_commands()) {
    if (command.name == name) return command.run(args.subspan(1), out, err);
    known.emplace_back(command.name);
  }
  if (const std::string how = how_to_install(name); !how.empty()) throw UsageError(how);
  for (const PythonCommand& command : python_commands()) known.emplace_back(command.name);
  if (name.starts_with('-')) throw UsageError("the command comes before its options: kvreplay COMMAND " + name);
  throw UsageError(unknown_name("command", name, known));
}

}  // namespace

std::span<const Command> all_commands() {
  static const std::array commands{synth_command(),       inspect_command(),   policies_command(), metrics_command(),
                                   replay_command(),      merge_command(),     compare_command(),  report_command(),
                                   fit_budgets_command(), completion_command()};
  return commands;
}

std::string message_line(const std::exception& error) {
  // Names in files may be as long as somebody likes.
  constexpr std::size_t kLongest = 560, kEnd = 160;
  std::string line = printable(error.what());
  const auto inside = [&](std::size_t at) { return (static_cast<unsigned char>(line[at]) & 0xc0) == 0x80; };
  if (line.size() <= kLongest) return line;
  std::size_t begin = kLongest - kEnd, end = line.size() - kEnd;
  while (inside(begin)) --begin;  // whole characters
  while (inside(end)) ++end;
  return line.substr(0, begin) + " ... " + line.substr(end);
}

int run_program(std::span<const std::string> args, std::ostream& out, std::ostream& err) {
  use_learned_policy_files();
  try {
    return dispatch(args, out, err);
  } catch (const Error& error) {
    err << "kvreplay: " << message_line(error) << '\n';
    return static_cast<int>(error.code());
  } catch (const std::bad_alloc&) {
    err << "kvreplay: out of memory\n";
  } catch (const std::exception& error) {
    err << "kvreplay: internal error: " << message_line(error) << '\n';
  }
  return static_cast<int>(ExitCode::failure);
}

}  // namespace kvreplay
