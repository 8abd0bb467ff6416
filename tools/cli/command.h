#pragma once
// The subcommands of the program, and the one place where errors become messages and exit codes.

#include <exception>
#include <ostream>
#include <span>
#include <string>
#include <string_view>

namespace kvreplay {

/// A subcommand. `run` gets the words after its name, writes data to `out` and talk to `err`, and returns the exit
/// code; it throws Error for what the user must hear of.
struct Command {
  std::string_view name;
  std::string_view summary;  ///< one line, for the overview
  int (*run)(std::span<const std::string> args, std::ostream& out, std::ostream& err) = nullptr;
};

/// In the order in which one uses them.
std::span<const Command> all_commands();

/// What a user is told of an error: one line of a terminal's page, whatever stands in it.
std::string message_line(const std::exception& error);

/// The whole program but for its streams: tests call it. Never throws: an Error becomes one line "kvreplay: ..." on
/// `err` and its exit code, anything else exit code 1.
/// \param args  the words after the program's name
int run_program(std::span<const std::string> args, std::ostream& out, std::ostream& err);

}  // namespace kvreplay
