#pragma once
// Pages on one row of a table, and the parameters that it declares, as text and as JSON.

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/contracts/parameters.h"
#include "tools/cli/two_columns.h"

namespace kvreplay {

/// Title, summary, and what there is to say of it in two columns.
std::string page(const std::string& title, const std::string& summary, const std::vector<TwoColumnRow>& rows);

/// A row for each parameter (help, domain, default) and for each dialect.
void add_parameters(const ParameterTable& table, std::vector<TwoColumnRow>& rows);

/// Arrays of objects.
nlohmann::ordered_json parameters_json(const ParameterTable& table);
nlohmann::ordered_json dialects_json(const ParameterTable& table);

}  // namespace kvreplay
