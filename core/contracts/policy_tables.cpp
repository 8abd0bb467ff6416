// The tables of scorers, modifiers, allocators and presets, which their files fill before main().

#include <fmt/format.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/contracts/policy.h"

namespace kvreplay {
namespace {

// Function-local statics: rows register before main() in an order that nobody controls.
template <typename Row>
std::vector<Row>& table() {
  static std::vector<Row> rows;
  return rows;
}

template <typename Row>
const Row* find(std::string_view name) {
  const auto found = std::ranges::find(table<Row>(), name, &Row::name);
  return found == table<Row>().end() ? nullptr : &*found;
}

template <typename Row>
void add(Row row, bool taken) {
  if (taken) throw UsageError(fmt::format("the policy name '{}' is taken", row.name));
  if (row.name.empty() || row.name.find_first_of(":+,= ") != std::string::npos)
    throw UsageError(fmt::format("'{}' cannot name a policy: it is empty or holds one of ':+,= '", row.name));
  table<Row>().insert(std::ranges::upper_bound(table<Row>(), row.name, {}, &Row::name), std::move(row));
}

template <typename Row>
void take_out_of_table(std::span<const std::string> names) {
  std::erase_if(table<Row>(), [&](const Row& row) { return std::ranges::find(names, row.name) != names.end(); });
}

bool follows(const Preset& preset, std::string_view scorer) {
  return std::string_view(preset.policy).substr(0, preset.policy.find_first_of(":+")) == scorer;
}

}  // namespace

const std::vector<Scorer>& all_scorers() { return table<Scorer>(); }
const std::vector<Modifier>& all_modifiers() { return table<Modifier>(); }
const std::vector<Allocator>& all_allocators() { return table<Allocator>(); }
const std::vector<Preset>& all_presets() { return table<Preset>(); }
const Scorer* find_scorer(std::string_view name) { return find<Scorer>(name); }
const Modifier* find_modifier(std::string_view name) { return find<Modifier>(name); }
const Allocator* find_allocator(std::string_view name) { return find<Allocator>(name); }
const Preset* find_preset(std::string_view name) { return find<Preset>(name); }

// Before the first `+` stands a scorer or a preset, after it a modifier or an allocator: a name means one thing in each
// place. Only a preset may be called as its own scorer.
void add_scorer(Scorer scorer) {
  const Preset* preset = find_preset(scorer.name);
  const bool taken = find_scorer(scorer.name) || (preset && !follows(*preset, scorer.name));
  add(std::move(scorer), taken);
}
void add_preset(Preset preset) {
  const bool taken = find_preset(preset.name) || (find_scorer(preset.name) && !follows(preset, preset.name));
  add(std::move(preset), taken);
}
void add_modifier(Modifier modifier) {
  const bool taken = find_modifier(modifier.name) || find_allocator(modifier.name);
  add(std::move(modifier), taken);
}
void add_allocator(Allocator allocator) {
  const bool taken = find_modifier(allocator.name) || find_allocator(allocator.name);
  add(std::move(allocator), taken);
}

AddedRows::AddedRows(std::vector<Scorer> scorers, std::vector<Modifier> modifiers, std::vector<Allocator> allocators) {
  const auto add_each = [](auto rows, std::vector<std::string>& names, const auto& add_row) {
    for (auto& row : rows) {
      std::string name = row.name;
      add_row(std::move(row));
      names.push_back(std::move(name));
    }
  };
  try {
    add_each(std::move(scorers), scorers_, add_scorer);
    add_each(std::move(modifiers), modifiers_, add_modifier);
    add_each(std::move(allocators), allocators_, add_allocator);
  } catch (...) {
    take_out();
    throw;
  }
}

AddedRows::~AddedRows() { take_out(); }

void AddedRows::take_out() {
  take_out_of_table<Scorer>(scorers_);
  take_out_of_table<Modifier>(modifiers_);
  take_out_of_table<Allocator>(allocators_);
}

std::vector<std::string> all_policy_names() {
  std::vector<std::string> names;
  for (const Scorer& scorer : all_scorers()) names.push_back(scorer.name);
  for (const Preset& preset : all_presets()) names.push_back(preset.name);
  std::ranges::sort(names);
  const auto [repeat, end] = std::ranges::unique(names);
  names.erase(repeat, end);
  return names;
}

std::vector<std::string> policy_names_without_file() {
  std::vector<std::string> names = all_policy_names();
  std::erase_if(names, [](const std::string& name) {
    const Preset* preset = find_preset(name);
    const std::string_view text = preset ? std::string_view(preset->policy) : std::string_view(name);
    const Scorer* scorer = find_scorer(text.substr(0, text.find_first_of(":+")));
    return scorer != nullptr && scorer->parameters.wants_file();
  });
  return names;
}

}  // namespace kvreplay
