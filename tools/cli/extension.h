#pragma once
// Commands that are programs of their own: `kvreplay NAME` is kvreplay-NAME, beside the program or on the PATH.

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace kvreplay {

/// A command that the Python package brings.
struct PythonCommand {
  std::string_view name;
  std::string_view summary;  ///< one line, for the overview
};

/// Each has an extra of its name but for `validate`, which goes with `record`.
std::span<const PythonCommand> python_commands();

/// Nothing where there is none, and for names that are no plain words.
std::optional<std::filesystem::path> find_extension(const std::string& name);

/// "record is a command of the Python package: pip install 'kvreplay[record]'"; "" for other names.
std::string how_to_install(std::string_view name);

/// Becomes the extension that the words ask for (`kvreplay NAME ...`, `kvreplay help NAME`); returns where they ask for
/// none. Called before anything else: an extension wants the environment as it is.
void become_extension(int argc, char** argv);

}  // namespace kvreplay
