#include "tools/python/binding/layer.h"

#include <nanobind/stl/string.h>

#include <string>
#include <utility>
#include <vector>

#include "policies/shared/head_pool.h"

namespace kvreplay::python {
namespace {

/// Python's class has to be one of ours.
struct LayerHandle {
  Layer layer;
};

Counts1 counts(std::size_t n, const auto& count) {
  std::vector<std::int64_t> values(n);
  for (std::size_t i = 0; i < n; ++i) values[i] = static_cast<std::int64_t>(count(i));
  return Counts1(owned(std::move(values), {n}));
}

nb::list competing_scores(const LayerHandle& self, std::size_t budget) {
  if (budget >= self.layer->scores_of.size()) throw nb::index_error("there is no such budget");
  nb::list heads;
  for (const Sequence& scores : self.layer->scores[self.layer->scores_of[budget]]) {
    const std::size_t shape[] = {scores.size()};
    heads.append(Floats1(scores.data(), 1, shape, keeper(self.layer)));
  }
  return heads;
}

std::string text_of(const LayerHandle& self) {
  const LayerSurvey& layer = *self.layer;
  return "<Layer " + std::to_string(layer.layer) + ": " + std::to_string(layer.n_heads) + " heads, " +
         std::to_string(layer.n_candidates) + " tokens, " + std::to_string(layer.budgets.size()) + " budgets>";
}

}  // namespace

LayerSurvey survey_of(const PromptView& view, const Scores& scores, std::span<const Budget> budgets) {
  LayerSurvey survey = survey_pool(scores, budgets);
  survey.layer = view.layer().index;
  survey.n_candidates = scores.n_candidates();
  survey.n_heads = scores.n_heads();
  survey.budgets.assign(budgets.begin(), budgets.end());
  survey.n_protected.clear();
  for (const Budget& budget : budgets) survey.n_protected.push_back(scores.protection.at(budget.tokens).total());
  return survey;
}

nb::object to_python(Layer layer) { return nb::cast(LayerHandle{std::move(layer)}); }

void declare_layer(nb::module_& m) {
  using namespace nb::literals;
  const auto share = nb::rv_policy::reference;  // arrays name their owners themselves
  nb::class_<LayerHandle>(m, "Layer", "A layer whose budgets an allocator splits over heads, or sets beside others.")
      .def_prop_ro(
          "layer", [](const LayerHandle& self) { return self.layer->layer; }, "int: the model's layer")
      .def_prop_ro(
          "n_heads", [](const LayerHandle& self) { return self.layer->n_heads; },
          "int: heads with a retained set of their own, KV heads or query heads, as the scorer makes them")
      .def_prop_ro(
          "n_tokens", [](const LayerHandle& self) { return self.layer->n_candidates; }, "int: tokens up for eviction")
      .def_prop_ro(
          "tokens",
          [](const LayerHandle& self) {
            return counts(self.layer->budgets.size(), [&](std::size_t b) { return self.layer->budgets[b].tokens; });
          },
          share, "[n_budgets] int64: tokens that each head of the layer is to keep on average")
      .def_prop_ro(
          "protected",
          [](const LayerHandle& self) {
            return counts(self.layer->n_protected.size(), [&](std::size_t b) { return self.layer->n_protected[b]; });
          },
          share, "[n_budgets] int64: how many of them the scorer keeps whatever their score")
      .def_prop_ro(
          "noted",
          [](const LayerHandle& self) {
            std::vector<double> noted = self.layer->noted;
            const std::size_t n = noted.size();
            return Doubles1(owned(std::move(noted), {n}));
          },
          share, "[any] float64: what the allocator's `survey` returned")
      .def("scores", &competing_scores, "budget"_a,
           "for each head, [n_tokens - protected[budget]] float32: the scores that are not protected, largest first")
      .def("__repr__", &text_of);
}

}  // namespace kvreplay::python
