#include "analysis/compare/results_join.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>
#include <span>
#include <tuple>

#include "analysis/compare/results_check.h"
#include "core/base/error.h"
#include "core/base/printable.h"
#include "core/data/left_out.h"

namespace kvreplay {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

/// Elements to step over for the next index of each dimension of a row-major array with these sizes.
std::vector<std::size_t> row_major_strides(std::span<const std::size_t> sizes) {
  std::vector<std::size_t> strides(sizes.size(), 1);
  for (std::size_t d = sizes.size(); d-- > 1;) strides[d - 1] = strides[d] * sizes[d];
  return strides;
}

/// Where the indices of one file's dimension lie in the joined one.
using IndexMap = std::vector<std::size_t>;
/// [n_files] by dimension name; empty for files without it.
using IndexMaps = std::map<std::string, std::vector<IndexMap>>;

/// Adds what is new in `labels` to `all` and says where each lies.
template <typename Label>
IndexMap merge_labels(std::vector<Label>& all, const std::vector<Label>& labels) {
  IndexMap map;
  for (const Label& label : labels) {
    auto found = std::find(all.begin(), all.end(), label);
    if (found == all.end()) found = all.insert(all.end(), label);
    map.push_back(static_cast<std::size_t>(found - all.begin()));
  }
  return map;
}

/// What makes two cases the same: fingerprint, sample, compression point.
using CaseKey = std::tuple<std::string, std::string, std::string>;

std::vector<CaseKey> case_keys(const Dataset& data) {
  const auto fingerprints = data.text_values("case_fingerprint");
  const auto samples = data.text_values("case_sample");
  const auto points = data.text_values("case_point");
  std::vector<CaseKey> keys;
  for (std::size_t i = 0; i < fingerprints.size(); ++i) keys.emplace_back(fingerprints[i], samples[i], points[i]);
  return keys;
}

/// Joins everything along "case" but the variables: keys, labels that are unique, texts.
void join_cases(std::span<const ResultsFile> files, Dataset& joined, IndexMaps& maps) {
  std::vector<CaseKey> keys;
  std::vector<std::string> labels, traces;
  std::map<std::string, std::vector<std::string>> texts;
  for (const ResultsFile& file : files) {
    const IndexMap map = merge_labels(keys, case_keys(file.data));
    maps["case"].push_back(map);
    const std::vector<std::string> names = texts_of(file.data.dimension("case").labels);
    labels.resize(keys.size());
    for (std::size_t i = 0; i < map.size(); ++i) {
      if (labels[map[i]].empty()) labels[map[i]] = names[i];
    }
    for (const TextVariable& text : file.data.texts) {
      if (text.dimension != "case") continue;
      std::vector<std::string>& values = texts[text.name];
      values.resize(keys.size());
      for (std::size_t i = 0; i < map.size(); ++i) values[map[i]] = text.values[i];
    }
  }
  // Two recordings may well have samples of the same name: first the trace tells them apart, then its fingerprint.
  const auto repeated = [&](const std::vector<std::string>& all) {
    std::vector<bool> result;
    for (const std::string& label : all) result.push_back(std::count(all.begin(), all.end(), label) > 1);
    return result;
  };
  const std::vector<bool> by_trace = repeated(labels);
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const std::string prefix = texts["case_trace"][i] + ":";
    if (by_trace[i] && !labels[i].starts_with(prefix)) labels[i].insert(0, prefix);
  }
  const std::vector<bool> by_fingerprint = repeated(labels);
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (by_fingerprint[i]) labels[i].insert(0, std::get<0>(keys[i]).substr(0, 8) + ":");
  }
  joined.dimensions.push_back(
      {.name = "case", .labels = labels, .attributes = files[0].data.dimension("case").attributes});
  for (auto& [name, values] : texts) {
    values.resize(keys.size());
    joined.texts.push_back({.name = name, .dimension = "case", .values = std::move(values)});
  }
}

bool budgets_differ(std::span<const ResultsFile> files) {
  return std::ranges::any_of(files, [&](const ResultsFile& file) {
    return file.data.dimension("budget").labels != files[0].data.dimension("budget").labels;
  });
}

/// Layers are joined in ascending order, and so are budgets where files have different ones; all other dimensions in
/// order of appearance.
void join_dimension(std::span<const ResultsFile> files, const Dimension& first, Dataset& joined, IndexMaps& maps) {
  Labels all = first.labels;
  std::visit(
      [&](auto& labels) {
        using AllLabels = std::remove_reference_t<decltype(labels)>;
        for (const ResultsFile& file : files) {
          if (!file.data.has_dimension(first.name)) continue;
          const Labels& others = file.data.dimension(first.name).labels;
          if (!std::holds_alternative<AllLabels>(others)) {
            throw InputError(fmt::format("'{}' and '{}' label the dimension '{}' by different types", files[0].name,
                                         file.name, first.name));
          }
          merge_labels(labels, std::get<AllLabels>(others));
        }
        if (first.name == "layer" || (first.name == "budget" && budgets_differ(files)))
          std::sort(labels.begin(), labels.end());
        for (const ResultsFile& file : files) {
          maps[first.name].push_back(
              file.data.has_dimension(first.name)
                  ? merge_labels(labels, std::get<AllLabels>(file.data.dimension(first.name).labels))
                  : IndexMap());
        }
      },
      all);
  joined.dimensions.push_back({.name = first.name, .labels = all, .attributes = first.attributes});

  std::map<std::string, std::vector<std::string>> texts;
  for (std::size_t f = 0; f < files.size(); ++f) {
    for (const TextVariable& text : files[f].data.texts) {
      if (text.dimension != first.name) continue;
      std::vector<std::string>& values = texts[text.name];
      values.resize(size_of(all));
      for (std::size_t i = 0; i < text.values.size(); ++i) values[maps[first.name][f][i]] = text.values[i];
    }
  }
  for (auto& [name, values] : texts)
    joined.texts.push_back({.name = name, .dimension = first.name, .values = std::move(values)});
}

void require_same(std::span<const ResultsFile> files, const char* what, auto&& describe) {
  const std::string first = describe(files[0].data);
  for (const ResultsFile& file : files.subspan(1)) {
    const std::string other = describe(file.data);
    if (other == first) continue;
    throw InputError(
        fmt::format("'{}' and '{}' cannot be compared: {} {} and {}", files[0].name, file.name, what, first, other));
  }
}

std::string describe_labels(const Dataset& data, const char* dimension) {
  return data.has_dimension(dimension) ? fmt::format("{}", fmt::join(texts_of(data.dimension(dimension).labels), ", "))
                                       : "none";
}

/// "snapkv, budget 0.1, ...": where an element of a joined variable lies.
std::string place_of(const Dataset& joined, const Variable& variable, std::size_t element) {
  std::string place;
  for (std::size_t d = variable.dimensions.size(); d-- > 0;) {
    const Dimension& dimension = joined.dimension(variable.dimensions[d]);
    const std::string label = texts_of(dimension.labels)[element % dimension.size()];
    place = fmt::format("{} {}{}{}", dimension.name, label, place.empty() ? "" : ", ", place);
    element /= dimension.size();
  }
  return place;
}

/// Copies one file's values to their places; two files that hold the same element must agree.
void scatter(const Dataset& joined, const ResultsFile& file, const Variable& source,
             std::span<const IndexMap* const> maps, Variable& target) {
  std::vector<std::size_t> source_sizes, target_sizes;
  for (const std::string& name : source.dimensions) {
    source_sizes.push_back(file.data.dimension(name).size());
    target_sizes.push_back(joined.dimension(name).size());
  }
  const std::vector<std::size_t> source_strides = row_major_strides(source_sizes);
  const std::vector<std::size_t> target_strides = row_major_strides(target_sizes);
  for (std::size_t i = 0; i < source.values.size(); ++i) {
    if (std::isnan(source.values[i])) continue;
    std::size_t place = 0;
    for (std::size_t d = 0; d < source_sizes.size(); ++d) {
      place += (*maps[d])[i / source_strides[d] % source_sizes[d]] * target_strides[d];
    }
    double& value = target.values[place];
    if (!std::isnan(value) && value != source.values[i]) {
      throw InputError(fmt::format("'{}' contradicts an earlier file: {} at {} is {} there and {} here", file.name,
                                   target.name, place_of(joined, target, place), value, source.values[i]));
    }
    value = source.values[i];
  }
}

void join_variable(std::span<const ResultsFile> files, const Variable& first, const IndexMaps& maps, Dataset& joined) {
  Variable target{.name = first.name, .dimensions = first.dimensions, .values = {}, .attributes = first.attributes};
  target.values.assign(joined.volume(first.dimensions), kNone);
  for (std::size_t f = 0; f < files.size(); ++f) {
    if (!files[f].data.has_variable(first.name)) continue;
    const Variable& source = files[f].data.variable(first.name);
    if (source.dimensions != first.dimensions || source.attributes != first.attributes) {
      throw InputError(fmt::format("'{}' and '{}' cannot be compared: they define '{}' differently", files[0].name,
                                   files[f].name, first.name));
    }
    std::vector<const IndexMap*> chosen;
    for (const std::string& name : source.dimensions) chosen.push_back(&maps.at(name)[f]);
    scatter(joined, files[f], source, chosen, target);
  }
  joined.variables.push_back(std::move(target));
}

/// Sums of some layers of a case cannot be put together with sums of others. Names of the variables that the files have
/// of different layers.
std::vector<std::string> of_different_layers(std::span<const ResultsFile> files) {
  std::map<std::string, std::string> layers;
  std::set<std::string> names;
  for (const ResultsFile& file : files)
    for (const Variable& variable : file.data.variables) {
      const std::string of_layers = text_attribute(variable.attributes, "of_layers");
      if (of_layers.empty()) continue;
      const auto [first, is_new] = layers.emplace(variable.name, of_layers);
      if (first->second != of_layers) names.insert(variable.name);
    }
  return {names.begin(), names.end()};
}

// Policies that a file left out, with the joined label of the case.
std::vector<LeftOut> left_out_of(const ResultsFile& file, const IndexMap& cases, const Dataset& joined) try {
  std::vector<LeftOut> all = parse_left_out(text_attribute(file.data.attributes, "left_out"));
  const auto own = texts_of(file.data.dimension("case").labels), labels = texts_of(joined.dimension("case").labels);
  for (LeftOut& each : all) {
    const auto at = std::ranges::find(own, each.case_label);
    if (at != own.end()) each.case_label = labels[cases[static_cast<std::size_t>(at - own.begin())]];
  }
  return all;
} catch (const InputError& error) {
  throw InputError(fmt::format("'{}': {}", file.name, error.what()));
}

void mark_replayed(std::span<const ResultsFile> files, const IndexMaps& maps, Dataset& joined) {
  Variable replayed{
      .name = std::string(kReplayed), .dimensions = {"case", "layer", "policy"}, .values = {}, .attributes = {}};
  replayed.values.assign(joined.volume(replayed.dimensions), kNone);
  const auto cases = texts_of(joined.dimension("case").labels), layers = texts_of(joined.dimension("layer").labels),
             policies = texts_of(joined.dimension("policy").labels);
  std::vector<LeftOut> all;
  for (std::size_t f = 0; f < files.size(); ++f) {
    const std::vector<LeftOut> left_out = left_out_of(files[f], maps.at("case")[f], joined);
    std::vector<bool> absent(replayed.values.size());
    for (const LeftOut& each : left_out) {
      const auto c = std::ranges::find(cases, each.case_label), p = std::ranges::find(policies, each.policy);
      if (c == cases.end() || p == policies.end()) continue;
      for (std::size_t l = 0; l < layers.size(); ++l)
        if (!each.layer || fmt::to_string(*each.layer) == layers[l])
          absent[(static_cast<std::size_t>(c - cases.begin()) * layers.size() + l) * policies.size() +
                 static_cast<std::size_t>(p - policies.begin())] = true;
    }
    for (const std::size_t c : maps.at("case")[f]) {
      for (const std::size_t l : maps.at("layer")[f]) {
        for (const std::size_t p : maps.at("policy")[f]) {
          const std::size_t at = (c * layers.size() + l) * policies.size() + p;
          if (!absent[at]) replayed.values[at] = 1;
        }
      }
    }
    std::ranges::copy_if(left_out, std::back_inserter(all),
                         [&](const LeftOut& each) { return std::ranges::find(all, each) == all.end(); });
  }
  joined.variables.push_back(std::move(replayed));
  joined.attributes.erase("left_out");
  if (!all.empty()) joined.attributes["left_out"] = left_out_json(all);
}

/// Settings that differ, one line each. Lists (of policies, metrics, ...) are what files are joined over.
std::vector<std::string> differing_options(std::span<const ResultsFile> files) {
  std::vector<std::string> notes;
  const auto options_of = [](const Dataset& data) {
    const auto json = nlohmann::json::parse(text_attribute(data.attributes, "options"), nullptr, false);
    return json.is_object() ? json : nlohmann::json::object();
  };
  const nlohmann::json first = options_of(files[0].data);
  for (const ResultsFile& file : files.subspan(1)) {
    const nlohmann::json other = options_of(file.data);
    for (const auto& [key, value] : first.items()) {
      if (value.is_array() || !other.contains(key) || other[key] == value) continue;
      notes.push_back(fmt::format("replayed with different options: {} is {} in '{}' and {} in '{}'", printable(key),
                                  printable(value.dump()), files[0].name, printable(other[key].dump()), file.name));
    }
  }
  return notes;
}

}  // namespace

JoinedResults join_results(std::vector<ResultsFile> files) {
  for (const ResultsFile& file : files) check_results(file.name, file.data);
  if (files.size() == 1) {
    IndexMaps maps;
    for (const char* name : {"case", "layer", "policy"}) {
      IndexMap& same = maps[name].emplace_back(files.front().data.dimension(name).size());
      std::iota(same.begin(), same.end(), std::size_t{0});
    }
    Dataset marked{.attributes = files.front().data.attributes,
                   .dimensions = files.front().data.dimensions,
                   .variables = {},
                   .texts = {}};
    mark_replayed(files, maps, marked);
    Dataset& data = files.front().data;
    data.attributes = std::move(marked.attributes);
    data.variables.push_back(std::move(marked.variables.front()));
    JoinedResults alone;
    alone.data = std::move(data);
    return alone;
  }
  require_same(files, "they are of the models",
               [](const Dataset& d) { return text_attribute(d.attributes, "model_id"); });
  require_same(files, "their budgets are kinds of",
               [](const Dataset& d) { return text_attribute(d.attributes, "budget_kind"); });
  require_same(files, "their query heads are", [](const Dataset& d) { return describe_labels(d, "q_head"); });
  require_same(files, "their KV heads are", [](const Dataset& d) { return describe_labels(d, "kv_head"); });

  JoinedResults result;
  IndexMaps maps;
  result.data.attributes = files[0].data.attributes;
  join_cases(files, result.data, maps);
  for (const ResultsFile& file : files) {
    for (const Dimension& dimension : file.data.dimensions) {
      if (!result.data.has_dimension(dimension.name)) join_dimension(files, dimension, result.data, maps);
    }
  }
  const std::vector<std::string> apart = of_different_layers(files);
  for (const ResultsFile& file : files) {
    for (const Variable& variable : file.data.variables) {
      if (std::ranges::binary_search(apart, variable.name)) continue;
      if (!result.data.has_variable(variable.name)) join_variable(files, variable, maps, result.data);
    }
  }
  mark_replayed(files, maps, result.data);
  result.notes = differing_options(files);
  result.budgets_differ = budgets_differ(files);
  if (result.budgets_differ)
    result.notes.push_back(
        "the files have different budgets: every policy has values at its own, and areas are of the "
        "kept fractions that all curves cover");
  for (const std::string& name : apart)
    if (!name.ends_with("_numerator") && !name.ends_with("_denominator"))
      result.notes.push_back(fmt::format(
          "{} is left out: files have it of different layers, and layers cannot be put together any more", name));
  return result;
}

}  // namespace kvreplay
