#pragma once
// The options of one subcommand, bound to variables: a thin layer over Boost.Program_options, which splits the words.
//
//   ReplayOptions replay;                                       // defaults are what the variables hold
//   Options options("replay [OPTIONS] TRACE...", "Replays traces through policies.");
//   options.positional("TRACE", traces, 1);
//   options.group("Output");
//   options.value("output,o", output, "FILE", "results file");   // required: if (output.empty()) throw UsageError(...)
//   options.flag("force", force, "overwrite it");
//   options.example("kvreplay replay trace.h5 -o results.h5");
//   if (!options.parse(args, out)) return 0;                     // --help was asked for and printed

#include <cstddef>
#include <functional>
#include <limits>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kvreplay {

/// Option names are given as "long" or "long,s". Abbreviations of long names are refused. The help shows as default
/// what the variable holds when the option is declared; nothing for an empty text, an empty list or an empty optional.
class Options {
 public:
  static constexpr std::size_t kUnlimited = std::numeric_limits<std::size_t>::max();

  /// \param usage    what follows "kvreplay", beginning with the command's name
  /// \param summary  what the command does, one or more sentences
  Options(std::string usage, std::string summary);

  /// The options declared from here on stand under this title in the help.
  void group(std::string title);

  /// Sets `target` to `value` when given.
  void flag(std::string_view names, bool& target, std::string help, bool value = true);

  /// Calls `act` when given.
  void action(std::string_view names, std::function<void()> act, std::string help);

  /// \param value_name  stands for the value in the help, in capitals
  void value(std::string_view names, std::string& target, std::string value_name, std::string help);
  void value(std::string_view names, std::size_t& target, std::string value_name, std::string help);
  void value(std::string_view names, double& target, std::string value_name, std::string help);
  void value(std::string_view names, std::optional<std::size_t>& target, std::string value_name, std::string help);
  void value(std::string_view names, std::optional<double>& target, std::string value_name, std::string help);

  /// May be given several times; each value is appended as it stands.
  void values(std::string_view names, std::vector<std::string>& target, std::string value_name, std::string help);

  /// One of several words.
  void choice(std::string_view names, std::string& target, std::vector<std::string> choices, std::string help);

  /// The words that are no options.
  void positional(std::string value_name, std::vector<std::string>& target, std::size_t min,
                  std::size_t max = kUnlimited);

  /// A command line that the help shows; may be called again.
  void example(std::string text);

  /// Sets the variables. False when the help was printed instead. Throws UsageError: an unknown option (with the
  /// nearest), a value missing, malformed or out of range, an option given twice, too few or too many arguments.
  bool parse(std::span<const std::string> args, std::ostream& out);

  /// Whether parse() met this option; `name` is the long one.
  bool given(std::string_view name) const;

  /// The option that writes table() instead of doing anything: for the manual page and the completion of shells.
  static constexpr std::string_view kTable = "--options-table";

 private:
  struct Option {
    std::string name;
    char letter = '\0';
    std::string value_name;  // "": takes no value
    std::string help;
    std::string default_text;
    std::string group;
    std::vector<std::string> choices = {};
    bool repeatable = false;
    std::function<void(const std::string& text)> set;
    bool given = false;
  };

  void add(std::string_view names, std::string value_name, std::string help, std::string default_text,
           std::function<void(const std::string&)> set, bool repeatable = false);
  Option& find(std::string_view name);
  void print_help(std::ostream& out) const;
  nlohmann::ordered_json table() const;
  std::string command_name() const;
  [[noreturn]] void refuse(const std::string& message) const;

  std::string usage_;
  std::string summary_;
  std::string group_ = "Options";
  std::vector<Option> options_;
  std::vector<std::string> examples_;
  std::string positional_value_name_;
  std::vector<std::string>* positional_ = nullptr;
  std::size_t positional_min_ = 0;
  std::size_t positional_max_ = 0;
};

}  // namespace kvreplay
