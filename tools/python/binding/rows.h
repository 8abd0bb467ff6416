#pragma once
// Parts of policies that are written in Python, as rows of the engine's tables.

#include <nanobind/nanobind.h>

#include <vector>

#include "core/contracts/policy.h"

namespace kvreplay::python {

namespace nb = nanobind;

struct Rows {
  std::vector<Scorer> scorers;
  std::vector<Modifier> modifiers;
  std::vector<Allocator> allocators;
};

/// \param parts  what kvreplay.policies.part.Part.row() makes: dicts with `kind`, `name`, `function` and the rest
Rows rows_of(const nb::list& parts);

}  // namespace kvreplay::python
