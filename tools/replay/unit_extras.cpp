#include "tools/replay/unit_extras.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>
#include <utility>

#include "core/base/error.h"
#include "traces/results/array_file.h"
#include "traces/results/retained_file.h"

namespace kvreplay {
namespace {

constexpr const char* kOutputs = "full_outputs";
constexpr const char* kPositions = "full_outputs_positions";
constexpr const char *kSampleName = "sample_name", *kDecodeStart = "decode_start", *kTokenTexts = "token_texts",
                     *kSpanNames = "marked_spans", *kSpanBegin = "marked_begin", *kSpanEnd = "marked_end";

std::string cells_name(std::size_t policy) { return fmt::format("cells_{}", policy); }
std::string holders_name(std::size_t policy) { return fmt::format("holders_{}", policy); }

// A dimension of the entry, made on first use. Journal entries label nothing.
std::string dimension(Dataset& entry, const std::string& kind, std::size_t size) {
  const std::string name = fmt::format("{}_{}", kind, size);
  if (!entry.has_dimension(name)) {
    std::vector<std::int64_t> labels(size);
    std::iota(labels.begin(), labels.end(), 0);
    entry.dimensions.push_back({.name = name, .labels = std::move(labels), .attributes = {}});
  }
  return name;
}

std::int64_t number(const Dataset& entry, const char* attribute) {
  return std::get<std::int64_t>(entry.attributes.at(attribute));
}

const std::vector<std::string>& texts(const Dataset& frame, std::string_view name) {
  return std::ranges::find(frame.texts, name, &TextVariable::name)->values;
}

std::string point_path(const ResultsFrame& frame, std::size_t unit, const Dataset& entry) {
  return fmt::format("/samples/{:04}/{}", number(entry, "sample"),
                     texts(frame.dataset, "case_point")[unit / frame.n_layers()]);
}

std::string layer_path(const ResultsFrame& frame, std::size_t unit, const Dataset& entry) {
  const auto& layers = std::get<std::vector<std::int64_t>>(frame.dataset.dimension("layer").labels);
  return fmt::format("{}/layers/{:02}", point_path(frame, unit, entry), layers[unit % frame.n_layers()]);
}

std::map<std::string, std::string> file_attributes(const ResultsFrame& frame, const char* format, const char* version) {
  return {{"format", format},
          {"format_version", version},
          {"options", std::get<std::string>(frame.dataset.attributes.at("options"))}};
}

void expect_dimensions(const Dataset& unit, const Variable& variable, const std::vector<std::size_t>& expected) {
  std::vector<std::size_t> found;
  for (const std::string& name : variable.dimensions) found.push_back(unit.dimension(name).size());
  if (found != expected)
    throw InputError(fmt::format("{}: expected dimensions {}, found {}", variable.name, expected, found));
}

void expect_counts(const Variable& variable, double below) {
  for (const double value : variable.values)
    if (!(value >= 0 && value < below && value == std::floor(value)))
      throw InputError(fmt::format("{}: expected whole numbers below {}, found {}", variable.name, below, value));
}

std::size_t length(const Dataset& unit, const Variable& variable, std::size_t axis) {
  if (axis < variable.dimensions.size()) return unit.dimension(variable.dimensions[axis]).size();
  throw InputError(fmt::format("{}: expected more than {} dimensions", variable.name, variable.dimensions.size()));
}

void check_retained(const ResultsFrame& frame, const Dataset& unit, std::size_t policy) {
  const Variable &cells = unit.variable(cells_name(policy)), &holders = unit.variable(holders_name(policy));
  const std::size_t n_sets = length(unit, cells, 0), n_cells = length(unit, holders, 1);
  expect_dimensions(unit, cells, {n_sets, static_cast<std::size_t>(number(unit, "n_candidates"))});
  expect_dimensions(unit, holders, {n_sets, n_cells, frame.dataset.dimension("budget").size()});
  expect_counts(cells, static_cast<double>(n_cells));
}

// Texts of tokens have line feeds, and bytes of half a character are none of theirs: JSON says them in ASCII.
std::string text_of_token(const std::string& stored) try {
  return nlohmann::json::parse(stored).get<std::string>();
} catch (const nlohmann::json::exception&) {
  throw InputError(fmt::format("{}: expected texts as JSON has them, found {:?}", kTokenTexts, stored));
}

bool has_tokens(const Dataset& unit) { return unit.attributes.contains(kSampleName); }

void check_tokens(const Dataset& unit) {
  const auto decode_start = unit.attributes.find(kDecodeStart);
  if (text_attribute(unit.attributes, kSampleName).empty() || decode_start == unit.attributes.end() ||
      !std::holds_alternative<std::int64_t>(decode_start->second))
    throw InputError(fmt::format("expected attributes {} and {}, a text and a number", kSampleName, kDecodeStart));
  const std::vector<std::string> names = unit.text_values(kSpanNames);
  for (const char* name : {kSpanBegin, kSpanEnd}) {
    if (names.empty()) break;
    const Variable& bounds = unit.variable(name);
    expect_dimensions(unit, bounds, {names.size()});
    expect_counts(bounds, 0x1p53);
  }
  for (const std::string& text : unit.text_values(kTokenTexts)) static_cast<void>(text_of_token(text));
}

// All points of a sample have the same.
void write_tokens(const Dataset& entry, ArrayFile& file) {
  // Not below the sample: there are its points, under names of the trace's.
  const std::string sample = fmt::format("/prompts/{:04}", number(entry, "sample"));
  if (const std::vector<std::string> stored = entry.text_values(kTokenTexts); !stored.empty()) {
    std::vector<std::string> texts;
    for (const std::string& text : stored) texts.push_back(text_of_token(text));
    file.write(sample + "/token_texts", texts);
  }
  if (const std::vector<std::string> names = entry.text_values(kSpanNames); !names.empty()) {
    file.write(sample + "/spans/name", names);
    for (const auto& [variable, name] : {std::pair{kSpanBegin, "begin"}, std::pair{kSpanEnd, "end"}}) {
      const std::vector<double>& values = entry.variable(variable).values;
      const std::vector<std::int64_t> bounds(values.begin(), values.end());
      file.write(sample + "/spans/" + name, std::vector<std::size_t>{bounds.size()},
                 std::span<const std::int64_t>(bounds));
    }
  }
  file.annotate(sample, {{"name", text_attribute(entry.attributes, kSampleName)},
                         {"decode_start", std::to_string(number(entry, kDecodeStart))}});
}

}  // namespace

void check_extras(const ResultsFrame& frame, const Dataset& unit, KeptExtras kept) {
  for (std::size_t p = 0; kept.retained && p < frame.dataset.dimension("policy").size(); ++p)
    if (unit.has_variable(cells_name(p))) check_retained(frame, unit, p);  // else left out there
  if (kept.retained && has_tokens(unit)) check_tokens(unit);
  if (!kept.outputs) return;
  const Variable &outputs = unit.variable(kOutputs), &positions = unit.variable(kPositions);
  const std::size_t n_queries = length(unit, outputs, 1);
  expect_dimensions(unit, outputs, {length(unit, outputs, 0), n_queries, length(unit, outputs, 2)});
  expect_dimensions(unit, positions, {n_queries});
  expect_counts(positions, 0x1p53);
}

void append_retained(const UnitResult& result, Dataset& entry) {
  const std::size_t t = result.first_candidate + result.n_candidates;  // of the first query that sees them
  const std::vector<Retention> retentions = result.retentions();
  for (std::size_t p = 0; p < retentions.size(); ++p) {
    if (!result.left_out[p].empty()) continue;
    const std::vector<HeadRetention>& heads = retentions[p].heads();
    std::size_t n_cells = 0;
    for (const HeadRetention& head : heads) n_cells = std::max(n_cells, head.cells().n_cells());
    const std::size_t n_heads = heads.size(), n_budgets = heads.front().n_budgets();
    const std::size_t n_candidates = heads.front().n_tokens();

    Variable cells{.name = cells_name(p),
                   .dimensions = {dimension(entry, "set", n_heads), dimension(entry, "candidate", n_candidates)},
                   .values = std::vector<double>(n_heads * n_candidates),
                   .attributes = {}};
    Variable holders{.name = holders_name(p),
                     .dimensions = {dimension(entry, "set", n_heads), dimension(entry, "cell", n_cells),
                                    dimension(entry, "budget", n_budgets)},
                     .values = std::vector<double>(n_heads * n_cells * n_budgets, 0.0),
                     .attributes = {}};
    for (std::size_t h = 0; h < n_heads; ++h) {
      for (std::size_t c = 0; c < heads[h].cells().n_cells(); ++c) {
        for (const std::uint32_t i : heads[h].cells().cell(c))
          cells.values[h * n_candidates + i] = static_cast<double>(c);
        for (std::size_t b = 0; b < n_budgets; ++b)
          holders.values[(h * n_cells + c) * n_budgets + b] = heads[h].holds_cell(c, b, t) ? 1 : 0;
      }
    }
    entry.variables.push_back(std::move(cells));
    entry.variables.push_back(std::move(holders));
  }
}

void append_tokens(const SampleInfo& sample, Dataset& entry) {
  entry.attributes[kSampleName] = sample.name;
  entry.attributes[kDecodeStart] = static_cast<std::int64_t>(sample.decode_start);
  if (!sample.token_texts.empty()) {
    TextVariable texts{kTokenTexts, dimension(entry, "token", sample.token_texts.size()), {}};
    for (const std::string& text : sample.token_texts) texts.values.push_back(nlohmann::json(text).dump(-1, ' ', true));
    entry.texts.push_back(std::move(texts));
  }
  if (sample.spans.empty()) return;
  const std::string along = dimension(entry, "mark", sample.spans.size());
  TextVariable names{kSpanNames, along, {}};
  Variable begin{.name = kSpanBegin, .dimensions = {along}, .values = {}, .attributes = {}}, end = begin;
  end.name = kSpanEnd;
  for (const Span& span : sample.spans) {
    names.values.push_back(span.name);
    begin.values.push_back(static_cast<double>(span.tokens.begin));
    end.values.push_back(static_cast<double>(span.tokens.end));
  }
  entry.texts.push_back(std::move(names));
  entry.variables.push_back(std::move(begin));
  entry.variables.push_back(std::move(end));
}

void append_outputs(const UnitResult& result, std::span<const std::size_t> query_positions, Dataset& entry) {
  const Tensor& outputs = result.outputs;
  const auto values = outputs.values();
  entry.variables.push_back(
      {.name = kOutputs,
       .dimensions = {dimension(entry, "head", outputs.count()), dimension(entry, "query", outputs.rows()),
                      dimension(entry, "channel", outputs.cols())},
       .values = {values.begin(), values.end()},
       .attributes = {}});
  const auto evaluated = query_positions.last(result.n_queries);
  entry.variables.push_back({.name = kPositions,
                             .dimensions = {dimension(entry, "query", outputs.rows())},
                             .values = {evaluated.begin(), evaluated.end()},
                             .attributes = {}});
}

std::unique_ptr<NewFile> write_retained_file(const std::filesystem::path& path, const ResultsFrame& frame,
                                             const UnitReader& read_unit) {
  ArrayFile file(path, file_attributes(frame, kRetainedFormat, "1.1"));
  const auto& policies = std::get<std::vector<std::string>>(frame.dataset.dimension("policy").labels);
  std::set<std::int64_t> samples;
  for (std::size_t unit = 0; unit < frame.n_units(); ++unit) {
    const Dataset entry = read_unit(unit, DatasetPart::described);
    if (has_tokens(entry) && samples.insert(number(entry, "sample")).second) write_tokens(entry, file);
    for (std::size_t p = 0; p < policies.size(); ++p) {
      if (!entry.has_variable(cells_name(p))) continue;  // left out here
      const Variable& cells = entry.variable(cells_name(p));
      const Variable& holders = entry.variable(holders_name(p));
      const std::size_t n_heads = entry.dimension(cells.dimensions[0]).size();
      const std::size_t n_candidates = entry.dimension(cells.dimensions[1]).size();
      const std::size_t n_cells = entry.dimension(holders.dimensions[1]).size();
      const std::size_t n_budgets = entry.dimension(holders.dimensions[2]).size();
      std::vector<std::uint8_t> retained(n_budgets * n_heads * n_candidates);
      for (std::size_t b = 0; b < n_budgets; ++b)
        for (std::size_t h = 0; h < n_heads; ++h)
          for (std::size_t i = 0; i < n_candidates; ++i) {
            const auto cell = static_cast<std::size_t>(cells.values[h * n_candidates + i]);
            retained[(b * n_heads + h) * n_candidates + i] = holders.values[(h * n_cells + cell) * n_budgets + b] != 0;
          }
      const bool per_query_head = n_heads != frame.dataset.dimension("kv_head").size();
      file.write(layer_path(frame, unit, entry) + "/retained/" + policies[p],
                 std::vector<std::size_t>{n_budgets, n_heads, n_candidates}, std::span<const std::uint8_t>(retained),
                 {{"head_axis", per_query_head ? "query" : "kv"},
                  {"first_position", std::to_string(number(entry, "first_candidate"))}});
    }
  }
  return file.finish();
}

std::unique_ptr<NewFile> write_outputs_file(const std::filesystem::path& path, const ResultsFrame& frame,
                                            const UnitReader& read_unit) {
  ArrayFile file(path, file_attributes(frame, "kvreplay-outputs", "1.0"));
  for (std::size_t unit = 0; unit < frame.n_units(); ++unit) {
    const Dataset entry = read_unit(unit, DatasetPart::described);
    const Variable& outputs = entry.variable(kOutputs);
    std::vector<std::size_t> shape;
    for (const std::string& name : outputs.dimensions) shape.push_back(entry.dimension(name).size());
    const std::vector<float> values(outputs.values.begin(), outputs.values.end());
    file.write(layer_path(frame, unit, entry) + "/outputs", shape, std::span<const float>(values));
    if (unit % frame.n_layers() == 0) {
      const std::vector<double>& at = entry.variable(kPositions).values;
      const std::vector<std::int64_t> positions(at.begin(), at.end());
      file.write(point_path(frame, unit, entry) + "/positions", std::vector<std::size_t>{positions.size()},
                 std::span<const std::int64_t>(positions));
    }
  }
  return file.finish();
}

}  // namespace kvreplay
