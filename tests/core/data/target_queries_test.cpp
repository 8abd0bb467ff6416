#include "core/data/target_queries.h"

#include <doctest/doctest.h>

using namespace kvreplay;

namespace {

using Targets = std::vector<std::uint8_t>;

}  // namespace

TEST_CASE("targets are the queries that predict the answer, else those of decoded tokens, else all") {
  const std::vector<std::size_t> positions{8, 9, 10, 11, 12};
  const std::vector<Span> spans{{"question", {8, 10}}, {"answer", {10, 12}}};
  // Tokens 10 and 11 are predicted by the queries at 9 and 10.
  CHECK(target_queries(positions, spans, 10) == Targets{0, 1, 1, 0, 0});
  CHECK(target_queries(positions, {}, 10) == Targets{0, 0, 1, 1, 1});
  // An answer that no recorded query predicts is no answer.
  const std::vector<Span> early{{"answer", {2, 4}}};
  CHECK(target_queries(positions, early, 11) == Targets{0, 0, 0, 1, 1});
  CHECK(target_queries(positions, {}, 13) == Targets{1, 1, 1, 1, 1});
  CHECK(target_queries({}, spans, 10).empty());
}
