#include "tools/replay/command_text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "core/base/shell_word.h"
#include "tools/replay/lists.h"
#include "tools/replay/plan_steps.h"

namespace kvreplay {
namespace {

std::string file_name(const std::string& path) { return std::filesystem::path(path).filename().string(); }

/// NAME=FILE without its folder; the name is always said, so that it does not hang on the file's.
std::string scores_text(const std::string& text) {
  const std::size_t equals = text.find('=');
  const std::string path = equals == std::string::npos ? text : text.substr(equals + 1);
  const std::string name =
      equals == std::string::npos ? std::filesystem::path(text).stem().string() : text.substr(0, equals);
  return name + "=" + file_name(path);
}

class Words {
 public:
  void word(const std::string& text) { text_ += " " + shell_word(text); }
  void option(const char* name, const std::string& value) {
    text_ += fmt::format(" --{}", name);
    word(value);
  }
  void list(const char* name, const std::vector<std::string>& values) {
    if (!values.empty()) option(name, fmt::format("{}", fmt::join(values, ",")));
  }
  void flag(const char* name, bool is_set) {
    if (is_set) text_ += fmt::format(" --{}", name);
  }
  std::string take() { return std::move(text_); }

 private:
  std::string text_ = "kvreplay replay";
};

bool asks_for_default_alone(const std::vector<std::string>& texts) {
  const std::vector<std::string> pieces = split_with_parameters(texts);
  return std::ranges::all_of(pieces, [](const std::string& text) { return text == kDefault; });
}

}  // namespace

std::string command_text(const ReplayOptions& options, const ReplayPlan& plan) {
  const ReplayOptions defaults;
  Words words;
  for (const auto& trace : plan.traces) words.word(file_name(trace->path().string()));
  if (!asks_for_default_alone(options.policies)) {
    std::vector<std::string> names;
    for (const Policy& policy : plan.policies) names.push_back(policy.name());
    words.list("policy", names);
  }
  if (!options.compression_ratios.empty())
    words.option("compression-ratio", options.compression_ratios);
  else if (options.budgets != defaults.budgets)
    words.option("budget", options.budgets);
  if (options.rounding != defaults.rounding) words.option("rounding", options.rounding);
  for (const std::string& point : options.compression_points) words.option("compression-point", point);
  for (const std::string& sample : options.samples) words.option("sample", sample);
  words.list("layer", options.layers);
  if (!asks_for_default_alone(options.metrics)) {
    std::vector<std::string> names;
    for (const ChosenMetric& metric : plan.metrics) names.push_back(metric.name());
    words.list("metric", names);
  }
  for (const std::string& scores : options.scores) words.option("scores", scores_text(scores));
  words.flag("evict-sliding", options.evict_sliding);
  words.flag("strict", options.strict);
  if (options.seed != defaults.seed) words.option("seed", std::to_string(options.seed));
  return words.take();
}

}  // namespace kvreplay
