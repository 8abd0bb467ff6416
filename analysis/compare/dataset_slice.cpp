#include "analysis/compare/dataset_slice.h"

#include <algorithm>

namespace kvreplay {
namespace {

template <typename Value>
std::vector<Value> take_values(const std::vector<Value>& values, std::span<const std::size_t> indices) {
  std::vector<Value> taken;
  taken.reserve(indices.size());
  for (const std::size_t index : indices) taken.push_back(values[index]);
  return taken;
}

/// \param outer, inner  how often the dimension repeats, and how many elements one index of it holds
std::vector<double> take_blocks(const std::vector<double>& values, std::size_t outer, std::size_t size,
                                std::size_t inner, std::span<const std::size_t> indices) {
  std::vector<double> taken;
  taken.reserve(outer * indices.size() * inner);
  for (std::size_t o = 0; o < outer; ++o) {
    for (const std::size_t index : indices) {
      const auto block = values.begin() + static_cast<std::ptrdiff_t>((o * size + index) * inner);
      taken.insert(taken.end(), block, block + static_cast<std::ptrdiff_t>(inner));
    }
  }
  return taken;
}

}  // namespace

std::vector<std::size_t> row_major_strides(std::span<const std::size_t> sizes) {
  std::vector<std::size_t> strides(sizes.size(), 1);
  for (std::size_t d = sizes.size(); d-- > 1;) strides[d - 1] = strides[d] * sizes[d];
  return strides;
}

Dataset take(const Dataset& dataset, std::string_view dimension, std::span<const std::size_t> indices) {
  const std::size_t size = dataset.dimension(dimension).size();
  Dataset part;
  part.attributes = dataset.attributes;
  for (Dimension each : dataset.dimensions) {
    if (each.name == dimension) {
      each.labels = std::visit([&](const auto& labels) -> Labels { return take_values(labels, indices); }, each.labels);
    }
    part.dimensions.push_back(std::move(each));
  }
  for (const TextVariable& text : dataset.texts) {
    part.texts.push_back(text);
    if (text.dimension == dimension) part.texts.back().values = take_values(text.values, indices);
  }
  for (const Variable& variable : dataset.variables) {
    const auto begin = variable.dimensions.begin();
    const auto found = std::find(begin, variable.dimensions.end(), dimension);
    if (found == variable.dimensions.end()) {
      part.variables.push_back(variable);
      continue;
    }
    const std::size_t outer = dataset.volume({begin, found});
    const std::size_t inner = dataset.volume({found + 1, variable.dimensions.end()});
    part.variables.push_back({.name = variable.name,
                              .dimensions = variable.dimensions,
                              .values = take_blocks(variable.values, outer, size, inner, indices),
                              .attributes = variable.attributes});
  }
  return part;
}

}  // namespace kvreplay
