#include "tools/replay/verification.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>

#include "core/base/shell_word.h"

namespace kvreplay {
namespace {

/// What the files of a trace's check begin with: its name, and a number where another trace has the same.
std::string stem_of(const std::vector<std::string>& traces, std::size_t t) {
  const auto stem = [&](std::size_t i) { return std::filesystem::path(traces[i]).stem().string(); };
  std::size_t n_before = 0, n_equal = 0;
  for (std::size_t i = 0; i < traces.size(); ++i) {
    n_equal += stem(i) == stem(t) ? 1 : 0;
    n_before += i < t && stem(i) == stem(t) ? 1 : 0;
  }
  const std::string text = stem(t) + (n_equal > 1 ? fmt::format("-{}", n_before + 1) : "") + "-check";
  return text.starts_with('-') ? "./" + text : text;
}

/// A path that no command takes for an option.
std::string path_word(const std::string& path) { return shell_word(path.starts_with('-') ? "./" + path : path); }

}  // namespace

std::vector<std::string> verification_commands(const VerificationOptions& options) {
  std::vector<std::string> commands;
  std::string validate =
      fmt::format("kvreplay validate --model {}", options.model.empty() ? "MODEL" : path_word(options.model));
  for (std::size_t t = 0; t < options.traces.size(); ++t) {
    const std::string trace = path_word(options.traces[t]), stem = stem_of(options.traces, t);
    const std::string results = shell_word(stem + ".h5"), sets = shell_word(stem + "-sets.h5");
    std::string replay = fmt::format("kvreplay replay {} -p {} -b {:.6g} --compression-point {}", trace,
                                     shell_word(options.policy), options.budget, shell_word(options.compression_point));
    for (const std::string& sample : options.samples) replay += " --sample " + shell_word(sample);
    if (!options.layers.empty()) replay += " --layer " + shell_word(fmt::format("{}", fmt::join(options.layers, ",")));
    if (options.seed != 1) replay += fmt::format(" --seed {}", options.seed);
    commands.push_back(replay + fmt::format(" -m predicted_kl,kept_fraction -o {} --save-retained {}", results, sets));
    validate += fmt::format(" --replay {} {} {}", trace, results, sets);
  }
  if (!commands.empty()) commands.push_back(validate + " --rows");
  return commands;
}

}  // namespace kvreplay
