#pragma once
// What a replay does not hold, and why: the attribute `left_out` of results and of finished units.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kvreplay {

struct LeftOut {
  std::string policy, metric;         ///< one of these; the other is ""
  std::string case_label;             ///< "": of all cases
  std::optional<std::int64_t> layer;  ///< none: of all layers
  std::string why;                    ///< one clause

  bool operator==(const LeftOut&) const = default;
};

/// A JSON list of objects with the members that are not empty: policy or metric, case, layer, why.
std::string left_out_json(std::span<const LeftOut> all);
/// "" is none. Throws InputError.
std::vector<LeftOut> parse_left_out(std::string_view json);

}  // namespace kvreplay
