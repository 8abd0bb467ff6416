#include "tools/cli/parameter_description.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/base/text_wrap.h"

namespace kvreplay {
namespace {

using Json = nlohmann::ordered_json;

std::string_view name_of(ParameterKind kind) {
  switch (kind) {
    case ParameterKind::count:
      return "count";
    case ParameterKind::odd_count:
      return "odd count";
    case ParameterKind::count_or_all:
      return "count or 'all'";
    case ParameterKind::real:
    case ParameterKind::real_or_choice:
      return "number";
    case ParameterKind::choice:
      return "choice";
    case ParameterKind::table:
    case ParameterKind::learned:
      return "file";
  }
  return "?";
}

// "count, at least 1" or "a|b|c".
std::string domain_of(const ParameterSpec& spec) {
  const std::string words = fmt::format("{}", fmt::join(spec.choices, "|"));
  if (spec.kind == ParameterKind::choice) return words;
  std::string text(name_of(spec.kind));
  if (spec.min != 0) text += fmt::format(", at least {}", spec.min);
  if (spec.max != std::numeric_limits<double>::infinity()) text += fmt::format(", at most {}", spec.max);
  if (!words.empty()) text += ", or " + words;
  return text;
}

std::string settings_of(const Dialect& dialect) {
  std::string text;
  for (const auto& [name, value] : dialect.defaults)
    text += fmt::format("{}{}={}", text.empty() ? "" : ",", name, value);
  return text;
}

}  // namespace

std::string page(const std::string& title, const std::string& summary, const std::vector<TwoColumnRow>& rows) {
  return title + "\n" + wrapped(summary, 0, kPageWidth) + "\n\n" + two_columns(rows);
}

void add_parameters(const ParameterTable& table, std::vector<TwoColumnRow>& rows) {
  for (const ParameterSpec& spec : table.parameters) {
    const std::string standard =
        spec.default_value.empty() ? "must be given" : fmt::format("default: {}", spec.default_value);
    rows.push_back({"Parameters", spec.name, fmt::format("{} ({}) [{}]", spec.help, domain_of(spec), standard)});
  }
  for (std::size_t d = 0; d < table.dialects.size(); ++d) {
    const Dialect& dialect = table.dialects[d];
    const std::string settings = settings_of(dialect);
    rows.push_back(
        {"Dialects", "dialect=" + dialect.name,
         fmt::format("{}{}{}", dialect.summary, settings.empty() ? "" : "; " + settings, d == 0 ? " [default]" : "")});
  }
}

Json parameters_json(const ParameterTable& table) {
  Json parameters = Json::array();
  for (const ParameterSpec& spec : table.parameters) {
    Json entry{{"name", spec.name}, {"kind", name_of(spec.kind)}, {"default", spec.default_value}, {"help", spec.help}};
    if (!spec.choices.empty()) entry["choices"] = spec.choices;
    parameters.push_back(std::move(entry));
  }
  return parameters;
}

Json dialects_json(const ParameterTable& table) {
  Json dialects = Json::array();
  for (const Dialect& dialect : table.dialects)
    dialects.push_back({{"name", dialect.name}, {"summary", dialect.summary}, {"defaults", dialect.defaults}});
  return dialects;
}

}  // namespace kvreplay
