#include "core/data/dataset.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/error.h"

namespace kvreplay {
namespace {

template <typename Named>
const Named* find(const std::vector<Named>& all, std::string_view name) {
  const auto found = std::find_if(all.begin(), all.end(), [&](const Named& each) { return each.name == name; });
  return found == all.end() ? nullptr : &*found;
}

template <typename Named>
const Named& get(const std::vector<Named>& all, std::string_view name, const char* kind) {
  if (const Named* found = find(all, name)) return *found;
  std::string known;
  for (const Named& each : all) known += (known.empty() ? "" : ", ") + each.name;
  throw InputError("no " + std::string(kind) + " '" + std::string(name) + "' here; there are: " + known);
}

}  // namespace

std::size_t size_of(const Labels& labels) {
  return std::visit([](const auto& values) { return values.size(); }, labels);
}

std::vector<std::string> texts_of(const Labels& labels) {
  return std::visit(
      [](const auto& all) {
        std::vector<std::string> texts;
        for (const auto& label : all) texts.push_back(fmt::format("{}", label));
        return texts;
      },
      labels);
}

std::string text_attribute(const Attributes& attributes, std::string_view name) {
  const auto found = attributes.find(std::string(name));
  if (found == attributes.end() || !std::holds_alternative<std::string>(found->second)) return "";
  return std::get<std::string>(found->second);
}

const Dimension& Dataset::dimension(std::string_view name) const { return get(dimensions, name, "dimension"); }
const Variable& Dataset::variable(std::string_view name) const { return get(variables, name, "variable"); }
bool Dataset::has_variable(std::string_view name) const { return find(variables, name) != nullptr; }

std::vector<std::string> Dataset::text_values(std::string_view name) const {
  const TextVariable* const found = find(texts, name);
  return found == nullptr ? std::vector<std::string>() : found->values;
}

bool Dataset::has_dimension(std::string_view name) const { return find(dimensions, name) != nullptr; }

std::size_t Dataset::volume(const std::vector<std::string>& names) const {
  std::size_t product = 1;
  for (const std::string& name : names) product *= dimension(name).size();
  return product;
}

}  // namespace kvreplay
