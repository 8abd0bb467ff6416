#pragma once
// Named arrays over named dimensions, as in xarray: the shape of everything that a replay writes down.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace kvreplay {

using Attribute = std::variant<std::string, double, std::int64_t>;
using Attributes = std::map<std::string, Attribute>;

/// The labels along a dimension: one per index, all of one type.
using Labels = std::variant<std::vector<std::string>, std::vector<double>, std::vector<std::int64_t>>;

std::size_t size_of(const Labels& labels);
/// As text: strings as they are, numbers in their shortest form.
std::vector<std::string> texts_of(const Labels& labels);

/// A text attribute; "" when there is none.
std::string text_attribute(const Attributes& attributes, std::string_view name);

struct Dimension {
  std::string name;
  Labels labels;
  Attributes attributes;

  std::size_t size() const { return size_of(labels); }
};

/// A float64 array over dimensions of its dataset, row-major in their order. NaN means "no value here".
struct Variable {
  std::string name;
  std::vector<std::string> dimensions;
  std::vector<double> values;
  Attributes attributes;
};

/// Strings along one dimension, beside its labels (a second name for each index).
struct TextVariable {
  std::string name;
  std::string dimension;
  std::vector<std::string> values;
};

/// Numbers on their way from one step to a later one: float32, without dimensions, of no use to anybody else.
struct CarriedArray {
  std::string name;
  std::vector<float> values;
};

/// What of a dataset is wanted: the carried arrays are large, and few look at them.
enum class DatasetPart { whole, described, carried };

/// Which variables of a file are read: by name and attributes.
using VariableFilter = std::function<bool(const std::string& name, const Attributes& attributes)>;

struct Dataset {
  Attributes attributes;
  std::vector<Dimension> dimensions;
  std::vector<Variable> variables;
  std::vector<TextVariable> texts;
  std::vector<CarriedArray> carried = {};

  /// Throws InputError naming what is there when there is no such thing.
  const Dimension& dimension(std::string_view name) const;
  const Variable& variable(std::string_view name) const;
  bool has_variable(std::string_view name) const;
  /// The values of a text variable; empty where there is none.
  std::vector<std::string> text_values(std::string_view name) const;
  bool has_dimension(std::string_view name) const;
  /// Product of the sizes of these dimensions.
  std::size_t volume(const std::vector<std::string>& dimensions) const;
};

}  // namespace kvreplay
