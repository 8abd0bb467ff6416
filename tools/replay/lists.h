#pragma once
// Lists in option values: `a,b,c`.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace kvreplay {

/// Pieces between commas, in order, of all texts; blanks around a piece, and empty pieces, are dropped. A piece with a
/// comma of its own stands in double quotes, which are dropped too.
std::vector<std::string> split_list(const std::vector<std::string>& texts);

/// The same for policies and metrics, whose parameters have commas of their own: a piece that begins with `name=`
/// belongs to the piece before it, and quotes stay. "snapkv:window=32,kernel=7+ada,knorm" is
/// "snapkv:window=32,kernel=7+ada" and "knorm".
std::vector<std::string> split_with_parameters(const std::vector<std::string>& texts);

/// Whole numbers and ranges, ends included: "0,3,5-8" is 0 3 5 6 7 8. Ascending, each once.
/// \param option  its name without dashes, for messages
/// Throws UsageError.
std::vector<std::int64_t> parse_index_list(std::string_view option, const std::vector<std::string>& texts);

}  // namespace kvreplay
