#include "tools/cli/extension.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <vector>

#include "tools/cli/command.h"

namespace kvreplay {
namespace {

namespace fs = std::filesystem;

constexpr std::array kPythonCommands{
    PythonCommand{"record", "record a model's queries, keys and values as a trace"},
    PythonCommand{"import", "make a trace of keys and values that another program left"},
    PythonCommand{"train", "learn token scorers from traces"},
    PythonCommand{"validate", "run the live model under retained sets, beside the predictions"}};

/// It reads files for the program, and is no command.
constexpr std::string_view kReader = "reader";

bool is_word(std::string_view name) {
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz0123456789-_";
  return !name.empty() && name.front() != '-' && name.find_first_not_of(kLetters) == std::string_view::npos;
}

/// Where an extension may lie: beside the program, then along the PATH.
std::vector<fs::path> folders() {
  std::vector<fs::path> folders;
  std::error_code unknown;
  if (const fs::path self = fs::read_symlink("/proc/self/exe", unknown); !unknown)
    folders.push_back(self.parent_path());
  const char* const path = std::getenv("PATH");
  std::string_view rest = path == nullptr ? "" : path;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find(':'), rest.size());
    if (end > 0) folders.emplace_back(rest.substr(0, end));  // an empty entry would be the folder that one is in
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return folders;
}

}  // namespace

std::span<const PythonCommand> python_commands() { return kPythonCommands; }

std::optional<fs::path> find_extension(const std::string& name) {
  if (!is_word(name) || name == kReader) return std::nullopt;
  for (const fs::path& folder : folders()) {
    const fs::path file = folder / ("kvreplay-" + name);
    std::error_code unknown;
    if (fs::is_regular_file(file, unknown) && access(file.c_str(), X_OK) == 0) return file;
  }
  return std::nullopt;
}

std::string how_to_install(std::string_view name) {
  if (std::ranges::find(kPythonCommands, name, &PythonCommand::name) == kPythonCommands.end()) return "";
  return fmt::format("{} is a command of the Python package: pip install 'kvreplay[{}]'", name,
                     name == "validate" ? "record" : name);
}

void become_extension(int argc, char** argv) {
  if (argc < 2) return;
  const bool is_help = std::string_view(argv[1]) == "help" && argc == 3;
  const std::string name = argv[is_help ? 2 : 1];
  if (std::ranges::find(all_commands(), name, &Command::name) != all_commands().end()) return;
  const std::optional<fs::path> file = find_extension(name);
  if (!file) return;
  std::string program = file->string(), help = "--help";
  std::vector<char*> words{program.data()};
  if (is_help)
    words.push_back(help.data());
  else
    words.insert(words.end(), argv + 2, argv + argc);
  words.push_back(nullptr);
  execv(program.c_str(), words.data());
  // It could not be started: the command is as unknown as without it.
}

}  // namespace kvreplay
