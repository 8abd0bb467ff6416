#pragma once
// Parameters of scorers and allocators: declared in their table row, given as `name=value,...`.

#include <cstddef>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/count.h"
#include "core/contracts/learned_policy.h"
#include "core/contracts/number_table.h"

namespace kvreplay {

enum class ParameterKind {
  count,
  odd_count,
  count_or_all,  ///< `all` is kAll
  real,
  choice,
  real_or_choice,
  table,    ///< a file that read_number_table() reads, or one of the choices
  learned,  ///< a file that read_learned_policy() reads
};

struct ParameterSpec {
  std::string name;
  ParameterKind kind = ParameterKind::count;
  std::string default_value;
  std::string help;
  std::vector<std::string> choices = {};  ///< the words that may be given
  double min = 0;                         ///< smallest count or real
  double max = std::numeric_limits<double>::infinity();
};

/// One reading of a method where papers and codes differ: other defaults for its parameters.
struct Dialect {
  std::string name;
  std::string summary;
  std::map<std::string, std::string> defaults = {};
};

/// What a row declares. With dialects there is a parameter `dialect` besides; the first one is the default.
struct ParameterTable {
  std::vector<ParameterSpec> parameters = {};
  std::vector<Dialect> dialects = {};

  /// Whether the method cannot be used without a file.
  bool wants_file() const;
};

/// The values of one use of a method, all checked against its table.
class Parameters {
 public:
  /// \param owner  the method's name, for messages
  /// \param text   `name=value,name=value`, may be empty
  /// Throws UsageError for unknown or repeated names and values out of range; InputError for files that cannot be
  /// read.
  Parameters(const ParameterTable& table, std::string_view owner, std::string_view text);

  std::size_t count(std::string_view name) const;
  double real(std::string_view name) const;
  const std::string& choice(std::string_view name) const;
  /// Whether one of the words was given where a number or a file may stand too.
  bool is_word(std::string_view name, std::string_view word) const { return choice(name) == word; }
  /// nullptr where a word was given instead of a file.
  const NumberTable* table(std::string_view name) const;
  const LearnedPolicy& learned(std::string_view name) const;

  /// `:name=value,...` with what differs from the dialect's defaults, in the order of the table; "" if nothing does. A
  /// file is called by its name, without the folder.
  const std::string& canonical() const { return canonical_; }
  /// The same with every parameter written out, and a file's digest for its path.
  const std::string& complete() const { return complete_; }
  /// Paths of the files that were read.
  const std::vector<std::string>& files() const { return files_; }

 private:
  const std::string& text(std::string_view name) const;
  const std::string& read_file(const ParameterSpec& spec, const std::string& path);

  std::map<std::string, std::string, std::less<>> values_;
  std::map<std::string, NumberTable, std::less<>> tables_;
  std::map<std::string, std::shared_ptr<const LearnedPolicy>, std::less<>> learned_;
  std::string canonical_;
  std::string complete_;
  std::vector<std::string> files_;
};

}  // namespace kvreplay
