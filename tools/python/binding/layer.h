#pragma once
// What an allocator that is written in Python knows of a layer: LayerSurvey, with arrays of NumPy.

#include <nanobind/nanobind.h>

#include <memory>
#include <span>

#include "core/contracts/allocator.h"
#include "tools/python/binding/arrays.h"

namespace kvreplay::python {

/// A survey that every array of it keeps alive.
using Layer = std::shared_ptr<const LayerSurvey>;

/// What stands in every survey, of a layer with these scores.
LayerSurvey survey_of(const PromptView& view, const Scores& scores, std::span<const Budget> budgets);

nb::object to_python(Layer layer);

void declare_layer(nb::module_& m);

}  // namespace kvreplay::python
