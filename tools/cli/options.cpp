#include "tools/cli/options.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/nearest_name.h"
#include "core/base/text_wrap.h"
#include "tools/cli/two_columns.h"

namespace kvreplay {
namespace {

namespace po = boost::program_options;

// std::from_chars, not lexical_cast: that one reads "-1" as the unsigned 18446744073709551615.
template <typename Number>
Number parse_number(std::string_view option, const std::string& text, const char* what) {
  Number number{};
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (error == std::errc::result_out_of_range) {
    throw UsageError(fmt::format("option '--{}': {} is out of range", option, text));
  }
  if (error != std::errc() || stop != end) {
    throw UsageError(fmt::format("option '--{}' takes {}, not '{}'", option, what, text));
  }
  return number;
}

std::size_t parse_count(std::string_view option, const std::string& text) {
  return parse_number<std::size_t>(option, text, "a whole number");
}

double parse_real(std::string_view option, const std::string& text) {
  const double number = parse_number<double>(option, text, "a number");
  if (!std::isfinite(number))
    throw UsageError(fmt::format("option '--{}' takes a finite number, not '{}'", option, text));
  return number;
}

std::string long_name(std::string_view names) { return std::string(names.substr(0, names.find(','))); }

}  // namespace

Options::Options(std::string usage, std::string summary) : usage_(std::move(usage)), summary_(std::move(summary)) {}

void Options::group(std::string title) { group_ = std::move(title); }

void Options::add(std::string_view names, std::string value_name, std::string help, std::string default_text,
                  std::function<void(const std::string&)> set, bool repeatable) {
  const std::size_t comma = names.find(',');
  const char letter = comma == std::string_view::npos ? '\0' : names.at(comma + 1);
  options_.push_back({.name = long_name(names),
                      .letter = letter,
                      .value_name = std::move(value_name),
                      .help = std::move(help),
                      .default_text = std::move(default_text),
                      .group = group_,
                      .repeatable = repeatable,
                      .set = std::move(set)});
}

void Options::flag(std::string_view names, bool& target, std::string help, bool value) {
  add(names, "", std::move(help), "", [&target, value](const std::string&) { target = value; });
}

void Options::action(std::string_view names, std::function<void()> act, std::string help) {
  add(names, "", std::move(help), "", [act = std::move(act)](const std::string&) { act(); });
}

void Options::value(std::string_view names, std::string& target, std::string value_name, std::string help) {
  add(names, std::move(value_name), std::move(help), target, [&target](const std::string& text) { target = text; });
}

void Options::value(std::string_view names, std::size_t& target, std::string value_name, std::string help) {
  add(names, std::move(value_name), std::move(help), fmt::to_string(target),
      [&target, name = long_name(names)](const std::string& text) { target = parse_count(name, text); });
}

void Options::value(std::string_view names, double& target, std::string value_name, std::string help) {
  add(names, std::move(value_name), std::move(help), fmt::to_string(target),
      [&target, name = long_name(names)](const std::string& text) { target = parse_real(name, text); });
}

void Options::value(std::string_view names, std::optional<std::size_t>& target, std::string value_name,
                    std::string help) {
  add(names, std::move(value_name), std::move(help), target ? fmt::to_string(*target) : "",
      [&target, name = long_name(names)](const std::string& text) { target = parse_count(name, text); });
}

void Options::value(std::string_view names, std::optional<double>& target, std::string value_name, std::string help) {
  add(names, std::move(value_name), std::move(help), target ? fmt::to_string(*target) : "",
      [&target, name = long_name(names)](const std::string& text) { target = parse_real(name, text); });
}

void Options::values(std::string_view names, std::vector<std::string>& target, std::string value_name,
                     std::string help) {
  add(
      names, std::move(value_name), std::move(help), fmt::format("{}", fmt::join(target, ",")),
      [&target](const std::string& text) { target.push_back(text); }, true);
}

void Options::choice(std::string_view names, std::string& target, std::vector<std::string> choices, std::string help) {
  std::string value_name = fmt::format("{}", fmt::join(choices, "|"));
  std::vector<std::string> known = choices;
  add(names, std::move(value_name), std::move(help), target,
      [&target, name = long_name(names), choices = std::move(choices)](const std::string& text) {
        if (std::find(choices.begin(), choices.end(), text) == choices.end()) {
          throw UsageError(
              fmt::format("option '--{}' takes one of {}, not '{}'", name, fmt::join(choices, ", "), text));
        }
        target = text;
      });
  options_.back().choices = std::move(known);
}

void Options::positional(std::string value_name, std::vector<std::string>& target, std::size_t min, std::size_t max) {
  positional_value_name_ = std::move(value_name);
  positional_ = &target;
  positional_min_ = min;
  positional_max_ = max;
}

void Options::example(std::string text) { examples_.push_back(std::move(text)); }

std::string Options::command_name() const { return "kvreplay " + usage_.substr(0, usage_.find(' ')); }

void Options::refuse(const std::string& message) const {
  throw UsageError(fmt::format("{} (see '{} --help')", message, command_name()));
}

Options::Option& Options::find(std::string_view name) {
  return *std::find_if(options_.begin(), options_.end(), [&](const Option& option) { return option.name == name; });
}

bool Options::given(std::string_view name) const {
  return std::any_of(options_.begin(), options_.end(),
                     [&](const Option& option) { return option.name == name && option.given; });
}

bool Options::parse(std::span<const std::string> args, std::ostream& out) {
  constexpr std::string_view kHelp = "help";
  const auto is_help = [&](const Option& option) { return option.name == kHelp; };
  if (std::none_of(options_.begin(), options_.end(), is_help)) {
    group_ = "Help";
    add("help,h", "", "show this help", "", [](const std::string&) {});
  }

  if (args.size() == 1 && args.front() == kTable) {
    out << table().dump(1, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
    return false;
  }

  // Boost only splits words into names and values; all values come back as text and are converted by `set`.
  po::options_description description;
  std::vector<std::string> names;
  for (const Option& option : options_) {
    const std::string boost_name = option.letter == '\0' ? option.name : option.name + "," + option.letter;
    if (option.value_name.empty()) {
      description.add_options()(boost_name.c_str(), "");
    } else {
      description.add_options()(boost_name.c_str(), po::value<std::string>(), "");
    }
    names.push_back("--" + option.name);
  }
  constexpr int kStyle = po::command_line_style::unix_style & ~po::command_line_style::allow_guessing;

  std::vector<po::option> words;
  try {
    const std::vector<std::string> copies(args.begin(), args.end());
    words = po::command_line_parser(copies).options(description).style(kStyle).run().options;
  } catch (const po::unknown_option& error) {
    const std::string nearest = nearest_name(error.get_option_name(), names);
    refuse(fmt::format("unknown option '{}'{}", error.get_option_name(),
                       nearest.empty() ? "" : fmt::format("; did you mean '{}'?", nearest)));
  } catch (const po::error& error) {
    refuse(error.what());
  }

  const auto wanted_help = [&](const po::option& word) { return word.string_key == kHelp; };
  if (std::any_of(words.begin(), words.end(), wanted_help)) {
    print_help(out);
    return false;
  }

  std::vector<std::string> positional;
  for (const po::option& word : words) {
    if (word.position_key >= 0) {
      positional.insert(positional.end(), word.value.begin(), word.value.end());
      continue;
    }
    Option& option = find(word.string_key);
    if (option.given && !option.repeatable && !option.value_name.empty()) {
      refuse(fmt::format("option '--{}' is given twice", option.name));
    }
    option.given = true;
    option.set(word.value.empty() ? std::string() : word.value.front());
  }
  if (positional.size() > positional_max_) {
    refuse(fmt::format("'{}' is one argument too many", positional[positional_max_]));
  }
  if (positional.size() < positional_min_) refuse(fmt::format("{} is missing", positional_value_name_));
  if (positional_ != nullptr) *positional_ = std::move(positional);
  return true;
}

nlohmann::ordered_json Options::table() const {
  auto options = nlohmann::ordered_json::array();
  for (const Option& option : options_)
    options.push_back({{"name", option.name},
                       {"letter", option.letter == '\0' ? "" : std::string(1, option.letter)},
                       {"value", option.value_name},
                       {"choices", option.choices},
                       {"help", option.help},
                       {"default", option.default_text},
                       {"group", option.group},
                       {"repeatable", option.repeatable}});
  return {{"usage", usage_},
          {"summary", summary_},
          {"positional", positional_value_name_},
          {"options", std::move(options)},
          {"examples", examples_}};
}

void Options::print_help(std::ostream& out) const {
  out << "Usage: kvreplay " << usage_ << "\n\n" << wrapped(summary_, 0, kPageWidth) << "\n\n";
  std::vector<TwoColumnRow> rows;
  for (const Option& option : options_) {
    std::string left = option.letter == '\0' ? "    " : fmt::format("-{}, ", option.letter);
    left += "--" + option.name + (option.value_name.empty() ? "" : " " + option.value_name);
    std::string right = option.help;
    if (!option.default_text.empty()) right += fmt::format(" [default: {}]", option.default_text);
    if (option.repeatable) right += " (may be repeated)";
    rows.push_back({.title = option.group, .left = std::move(left), .right = std::move(right)});
  }
  out << two_columns(rows);
  if (!examples_.empty()) out << (examples_.size() == 1 ? "\nExample:\n" : "\nExamples:\n");
  for (const std::string& example : examples_) out << "  " << example << "\n";
}

}  // namespace kvreplay
