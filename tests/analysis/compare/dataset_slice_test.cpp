#include "analysis/compare/dataset_slice.h"

#include <doctest/doctest.h>

#include "core/base/error.h"
#include "tests/analysis/compare/results_fixture.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("taking indices of a dimension leaves everything else whole") {
  Dataset data;
  data.dimensions = {{.name = "x", .labels = std::vector<std::string>{"a", "b", "c"}, .attributes = {}},
                     {.name = "y", .labels = std::vector<std::int64_t>{7, 8}, .attributes = {}}};
  data.variables = {{"xy", {"x", "y"}, {1, 2, 3, 4, 5, 6}, {}},
                    {"yx", {"y", "x"}, {1, 2, 3, 4, 5, 6}, {}},
                    {"only_y", {"y"}, {1, 2}, {}}};
  data.texts = {{"names", "x", {"A", "B", "C"}}, {"others", "y", {"P", "Q"}}};

  const std::vector<std::size_t> indices{2, 0};
  const Dataset part = take(data, "x", indices);
  CHECK(std::get<std::vector<std::string>>(part.dimension("x").labels) == std::vector<std::string>{"c", "a"});
  CHECK(part.variable("xy").values == std::vector<double>{5, 6, 1, 2});
  CHECK(part.variable("yx").values == std::vector<double>{3, 1, 6, 4});
  CHECK(part.variable("only_y").values == std::vector<double>{1, 2});
  CHECK(part.texts[0].values == std::vector<std::string>{"C", "A"});
  CHECK(part.texts[1].values == std::vector<std::string>{"P", "Q"});
  CHECK_THROWS_AS(take(data, "z", indices), InputError);
}
