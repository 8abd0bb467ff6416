#include "tools/cli/array_description.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <vector>

#include "tools/cli/trace_description.h"
#include "tools/cli/two_columns.h"

namespace kvreplay {
namespace {

// Arrays of one name and shape in several layers.
struct Row {
  std::string name, content;
  std::vector<std::size_t> layers;
};

// "samples/0000/layers/03/scores" is "samples/0000/layers/LL/scores" of layer 3.
void add(const ListedArray& array, std::vector<Row>& rows) {
  constexpr std::string_view kLayers = "layers/";
  Row row{
      .name = array.path, .content = fmt::format("{} [{}]", array.type, fmt::join(array.shape, ", ")), .layers = {}};
  const std::size_t at = array.path.find(kLayers);
  if (at != std::string::npos) {
    const std::size_t begin = at + kLayers.size(), end = std::min(array.path.find('/', begin), array.path.size());
    std::size_t layer = 0;
    const auto [stop, error] = std::from_chars(array.path.data() + begin, array.path.data() + end, layer);
    if (error == std::errc() && stop == array.path.data() + end) {
      row.layers = {layer};
      row.name = array.path.substr(0, begin) + "LL" + array.path.substr(end);
    }
  }
  const auto same = std::ranges::find_if(rows, [&](const Row& each) {
    return each.name == row.name && each.content == row.content && each.layers.empty() == row.layers.empty();
  });
  if (same == rows.end())
    rows.push_back(std::move(row));
  else
    same->layers.push_back(row.layers.front());
}

}  // namespace

std::string describe_arrays(const std::string& headline, std::span<const ListedArray> arrays) {
  std::vector<Row> rows;
  for (const ListedArray& array : arrays) add(array, rows);
  std::vector<TwoColumnRow> lines;
  for (Row& row : rows) {
    std::ranges::sort(row.layers);
    const std::string layers = row.layers.empty() ? ""
                                                  : fmt::format(" in layer{} {}", row.layers.size() == 1 ? "" : "s",
                                                                index_list_text(row.layers));
    lines.push_back({.title = "", .left = row.name, .right = row.content + layers});
  }
  return headline + "\n" + two_columns(lines);
}

nlohmann::ordered_json arrays_json(std::span<const ListedArray> arrays) {
  auto json = nlohmann::ordered_json::array();
  for (const ListedArray& array : arrays)
    json.push_back({{"path", array.path}, {"type", array.type}, {"shape", array.shape}});
  return json;
}

}  // namespace kvreplay
