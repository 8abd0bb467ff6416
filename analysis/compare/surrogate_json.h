#pragma once
// What is known of the surrogates, as JSON.

#include <nlohmann/json.hpp>
#include <span>

#include "analysis/compare/compared_policy.h"
#include "analysis/compare/surrogate_report.h"
#include "analysis/compare/unified_view.h"

namespace kvreplay {

/// Every figure of the report with its interval and sentence, and the unified view as "unified".
nlohmann::ordered_json surrogate_json(const SurrogateReport& report, const UnifiedView& view,
                                      std::span<const ComparedPolicy> policies);

}  // namespace kvreplay
