#include "tools/python/binding/rows.h"

#include <fmt/format.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "core/base/error.h"
#include "tools/python/binding/arrays.h"
#include "tools/python/binding/layer.h"
#include "tools/python/binding/view.h"

namespace kvreplay::python {
namespace {

std::string text(const nb::dict& part, const char* key) { return nb::cast<std::string>(part[key]); }

/// A function of Python and the kinds of its parameters. Copies may be called and dropped on any thread.
class Function {
 public:
  Function(const nb::handle& function, const ParameterTable& table) : parameters_(table.parameters) {
    function_ = std::shared_ptr<nb::object>(new nb::object(nb::borrow(function)), [](nb::object* object) {
      const nb::gil_scoped_acquire held;
      delete object;
    });
  }

  /// function(view, *others, parameters), with the interpreter's lock held by the caller. The view ends with it.
  template <typename... Others>
  nb::object at(const PromptView& view, const Parameters& given, Others&&... others) const {
    nb::object seen = nb::cast(View(view));
    struct Ending {
      View& view;
      ~Ending() { view.end(); }
    } ending{nb::cast<View&>(seen)};
    return (*function_)(seen, std::forward<Others>(others)..., named(given));
  }

  nb::object operator()(const nb::list& layers, const Parameters& given) const {
    return (*function_)(layers, named(given));
  }

 private:
  nb::dict named(const Parameters& given) const {
    nb::dict values;
    for (const ParameterSpec& spec : parameters_) {
      const char* name = spec.name.c_str();
      if (spec.kind == ParameterKind::count)
        values[name] = given.count(spec.name);
      else if (spec.kind == ParameterKind::real)
        values[name] = given.real(spec.name);
      else
        values[name] = given.choice(spec.name);
    }
    return values;
  }

  std::shared_ptr<nb::object> function_;
  std::vector<ParameterSpec> parameters_;
};

ParameterTable parameters_of(const nb::dict& part) {
  ParameterTable table;
  for (const nb::handle each : nb::cast<nb::list>(part["parameters"])) {
    const auto row = nb::cast<nb::dict>(each);
    const std::string kind = text(row, "kind");
    table.parameters.push_back({.name = text(row, "name"),
                                .kind = kind == "count"  ? ParameterKind::count
                                        : kind == "real" ? ParameterKind::real
                                                         : ParameterKind::choice,
                                .default_value = text(row, "default"),
                                .help = "",
                                .choices = nb::cast<std::vector<std::string>>(row["choices"]),
                                .min = kind == "real" ? -std::numeric_limits<double>::infinity() : 0});
  }
  return table;
}

std::vector<Need> needs_of(const nb::dict& part) {
  std::vector<Need> needs;
  for (const nb::handle each : nb::cast<nb::list>(part["needs"])) {
    const auto [what, parameter] = nb::cast<std::pair<std::string, nb::object>>(each);
    if (what == "output_projection")
      needs.push_back(need::output_projection());
    else if (what == "block_cosine")
      needs.push_back(need::block_cosine());
    else if (what == "evaluation_queries")
      needs.push_back(need::evaluation_queries());
    else if (parameter.is_none())
      needs.push_back(need::all_queries());
    else if (nb::isinstance<nb::int_>(parameter))
      needs.push_back(need::last_queries(nb::cast<std::size_t>(parameter)));
    else
      needs.push_back(need::last_queries(nb::cast<std::string>(parameter)));
  }
  return needs;
}

/// Tokens that are kept whatever their score: numbers, or names of parameters that hold them.
class Protected {
 public:
  explicit Protected(const nb::dict& part) {
    for (const auto& [key, value] : nb::cast<nb::dict>(part["protected"])) {
      const std::string name = nb::cast<std::string>(key);
      if (nb::isinstance<nb::str>(value))
        parameters_.emplace_back(name, nb::cast<std::string>(value));
      else
        set(fixed_, name, nb::cast<double>(value));
    }
  }

  Protection with(const ParameterTable& table, const Parameters& given) const {
    Protection protection = fixed_;
    for (const auto& [name, parameter] : parameters_) {
      const auto spec = std::ranges::find(table.parameters, parameter, &ParameterSpec::name);
      const bool counts = spec->kind == ParameterKind::count;
      set(protection, name, counts ? static_cast<double>(given.count(parameter)) : given.real(parameter));
    }
    return protection;
  }

 private:
  static void set(Protection& protection, std::string_view name, double value) {
    if (name == "sinks") protection.sinks = static_cast<std::size_t>(value);
    if (name == "recent") protection.recent = static_cast<std::size_t>(value);
    if (name == "first_share") protection.first_share = value;
    if (name == "recent_share") protection.recent_share = value;
  }

  Protection fixed_;
  std::vector<std::pair<std::string, std::string>> parameters_;
};

/// What Python's side has made of what a function returned: float32, contiguous, of an allowed shape.
Tensor tensor_of(const nb::object& returned) {
  const auto array = nb::cast<nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>>(returned);
  Tensor tensor(1, array.shape(0), array.shape(1));
  std::copy_n(array.data(), array.size(), tensor.values().data());
  return tensor;
}

HeadAxis axis_of(const nb::dict& part) { return text(part, "heads") == "query" ? HeadAxis::query : HeadAxis::kv; }

HeadAxis kv_axis(const Parameters&) { return HeadAxis::kv; }
HeadAxis query_axis(const Parameters&) { return HeadAxis::query; }

Scorer scorer_of(const nb::dict& part) {
  const ParameterTable table = parameters_of(part);
  const Function function(part["function"], table);
  const Protected guarded(part);
  const HeadAxis axis = axis_of(part);
  const auto make = [table, guarded, axis](const nb::object& returned, const Parameters& given) {
    return Scores{.axis = axis, .values = tensor_of(returned), .protection = guarded.with(table, given)};
  };
  Scorer scorer{.name = text(part, "name"),
                .family = "",
                .summary = text(part, "summary"),
                .formula = "as its source says",
                .paper = text(part, "paper"),
                .needs = needs_of(part),
                .parameters = table,
                .traits = {.oracle = nb::cast<bool>(part["looks_ahead"]), .random = nb::cast<bool>(part["random"])},
                .head_axis = axis == HeadAxis::query ? query_axis : kv_axis,
                .version = text(part, "version")};
  if (nb::cast<bool>(part["at_budget"]))
    scorer.score_at = [function, make](const PromptView& view, const Budget& budget, const Parameters& given) {
      const nb::gil_scoped_acquire held;
      return make(function.at(view, given, nb::cast(budget)), given);
    };
  else
    scorer.score = [function, make](const PromptView& view, const Parameters& given) {
      const nb::gil_scoped_acquire held;
      return make(function.at(view, given), given);
    };
  return scorer;
}

Modifier modifier_of(const nb::dict& part) {
  const ParameterTable table = parameters_of(part);
  const Function function(part["function"], table);
  const auto call = [function](const PromptView& view, Scores scores, const Parameters& given, auto... budget) {
    const nb::gil_scoped_acquire held;
    const auto tensor = std::make_shared<Tensor>(std::move(scores.values));
    const std::size_t shape[] = {tensor->rows(), tensor->cols()};
    float* data = tensor->values().data();
    const nb::object array = nb::cast(WritableFloats2(data, 2, shape, keeper(tensor)));
    scores.values = tensor_of(function.at(view, given, array, nb::cast(budget)...));
    return scores;
  };
  Modifier modifier{.name = text(part, "name"),
                    .summary = text(part, "summary"),
                    .formula = "as its source says",
                    .paper = text(part, "paper"),
                    .needs = needs_of(part),
                    .parameters = table,
                    .version = text(part, "version")};
  if (nb::cast<bool>(part["at_budget"]))
    modifier.apply_at = [call](const PromptView& view, Scores scores, const Budget& budget, const Parameters& given) {
      return call(view, std::move(scores), given, budget);
    };
  else
    modifier.apply = [call](const PromptView& view, Scores scores, const Parameters& given) {
      return call(view, std::move(scores), given);
    };
  return modifier;
}

using Returned = nb::ndarray<const std::int64_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

/// Tokens of every head, [n_budgets][n_heads]. Throws InputError for what no layer can keep.
HeadBudgets budgets_of(const std::string& name, const LayerSurvey& layer, const nb::handle& returned) {
  const auto array = nb::cast<Returned>(returned);
  const std::size_t n_budgets = layer.budgets.size();
  if (array.shape(0) != n_budgets || (array.shape(1) != layer.n_heads && array.shape(1) != 1))
    throw InputError(fmt::format("allocator '{}' returned budgets of shape [{}, {}] for layer {}, expected [{}, {}]",
                                 name, array.shape(0), array.shape(1), layer.layer, n_budgets, layer.n_heads));
  HeadBudgets budgets;
  for (std::size_t b = 0; b < n_budgets; ++b) {
    std::vector<std::size_t>& tokens = budgets.tokens.emplace_back();
    for (std::size_t h = 0; h < layer.n_heads; ++h) {
      const std::int64_t given = array(b, array.shape(1) == 1 ? 0 : h);
      if (given < 0 || static_cast<std::size_t>(given) > layer.n_candidates)
        throw InputError(fmt::format("allocator '{}' gave head {} of layer {} {} tokens of {}", name, h, layer.layer,
                                     given, layer.n_candidates));
      tokens.push_back(static_cast<std::size_t>(given));
    }
  }
  return budgets;
}

/// Budgets are to be compared at equal sizes. Throws InputError.
void check_totals(const std::string& name, std::span<const LayerSurvey* const> layers,
                  std::span<const HeadBudgets> budgets) {
  for (std::size_t b = 0; b < layers.front()->budgets.size(); ++b) {
    std::size_t asked = 0, given = 0;
    for (std::size_t l = 0; l < layers.size(); ++l) {
      asked += layers[l]->budgets[b].tokens * layers[l]->n_heads;
      for (const std::size_t tokens : budgets[l].tokens[b]) given += tokens;
    }
    if (given != asked)
      throw InputError(
          fmt::format("allocator '{}' gave out {} tokens of the {} of budget {}; approximate=True allows "
                      "that",
                      name, given, asked, b));
  }
}

Allocator allocator_of(const nb::dict& part) {
  const ParameterTable table = parameters_of(part);
  const Function function(part["function"], table);
  const std::string name = text(part, "name"), level = text(part, "level");
  const bool approximate = nb::cast<bool>(part["approximate"]);
  Allocator allocator{.name = name,
                      .summary = text(part, "summary"),
                      .formula = "as its source says",
                      .paper = text(part, "paper"),
                      .needs = needs_of(part),
                      .parameters = table,
                      .traits = {.level = level == "heads"    ? AllocatorLevel::heads
                                          : level == "layers" ? AllocatorLevel::layers
                                                              : AllocatorLevel::both,
                                 .oracle = nb::cast<bool>(part["looks_ahead"]),
                                 .approximate = approximate},
                      .version = text(part, "version")};
  if (level == "heads") {
    allocator.allocate = [=](const PromptView& view, const Scores& scores, std::span<const Budget> budgets,
                             const Parameters& given) {
      const auto layer = std::make_shared<const LayerSurvey>(survey_of(view, scores, budgets));
      const nb::gil_scoped_acquire held;
      const HeadBudgets split = budgets_of(name, *layer, function.at(view, given, to_python(layer)));
      const LayerSurvey* one[] = {layer.get()};
      if (!approximate) check_totals(name, one, {&split, 1});
      return split;
    };
    return allocator;
  }
  std::optional<Function> survey;
  if (!nb::object(part["survey"]).is_none()) survey.emplace(part["survey"], table);
  allocator.survey = [survey](const PromptView& view, const Scores& scores, std::span<const Budget> budgets,
                              const Parameters& given) {
    LayerSurvey layer = survey_of(view, scores, budgets);
    if (survey) {
      const nb::gil_scoped_acquire held;
      const nb::object seen = to_python(std::make_shared<const LayerSurvey>(layer));
      layer.noted = nb::cast<std::vector<double>>(survey->at(view, given, seen));
    }
    return layer;
  };
  allocator.split_layers = [=](std::span<const LayerSurvey> layers, const Parameters& given) {
    const nb::gil_scoped_acquire held;
    nb::list seen;
    std::vector<const LayerSurvey*> surveys;
    for (const LayerSurvey& layer : layers) {
      surveys.push_back(&layer);
      seen.append(to_python(std::make_shared<const LayerSurvey>(layer)));
    }
    const auto returned = nb::cast<nb::list>(function(seen, given));
    if (returned.size() != layers.size())
      throw InputError(fmt::format("allocator '{}' returned budgets of {} layers, expected {}", name, returned.size(),
                                   layers.size()));
    std::vector<HeadBudgets> split;
    for (std::size_t l = 0; l < layers.size(); ++l) split.push_back(budgets_of(name, layers[l], returned[l]));
    if (!approximate) check_totals(name, surveys, split);
    return split;
  };
  return allocator;
}

}  // namespace

Rows rows_of(const nb::list& parts) {
  Rows rows;
  for (const nb::handle each : parts) {
    const auto part = nb::cast<nb::dict>(each);
    const std::string kind = text(part, "kind");
    if (kind == "scorer") rows.scorers.push_back(scorer_of(part));
    if (kind == "modifier") rows.modifiers.push_back(modifier_of(part));
    if (kind == "allocator") rows.allocators.push_back(allocator_of(part));
  }
  return rows;
}

}  // namespace kvreplay::python
