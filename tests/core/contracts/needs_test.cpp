#include "core/contracts/needs.h"

#include <doctest/doctest.h>

using namespace kvreplay;

namespace {

// Parameters window (count), of (value or projected).
Parameters parameters(const std::string& text) {
  static const ParameterTable table{.parameters = {{.name = "window", .default_value = "4", .help = "queries"},
                                                   {.name = "of",
                                                    .kind = ParameterKind::choice,
                                                    .default_value = "value",
                                                    .help = "which",
                                                    .choices = {"value", "projected"}}}};
  return Parameters(table, "method", text);
}

const std::vector<Need> kDeclared{need::last_queries("window"), need::output_projection().when("of", "projected")};

}  // namespace

TEST_CASE("a declaration is told in prose, with its conditions") {
  CHECK(prose_of(kDeclared) == "the last `window` prompt queries; W_O with of=projected");
  CHECK(prose_of(std::vector{need::last_queries(1)}) == "the last prompt query");
  CHECK(prose_of(std::vector{need::last_queries(64), need::other("a file")}) == "the last 64 prompt queries; a file");
  CHECK(prose_of({}) == "");
}

TEST_CASE("what a declaration comes to depends on the parameters") {
  CHECK(needs_of(kDeclared, parameters("")).query_window == 4);
  CHECK(!needs_of(kDeclared, parameters("")).output_projection);
  CHECK(needs_of(kDeclared, parameters("window=9,of=projected")).query_window == 9);
  CHECK(needs_of(kDeclared, parameters("window=9,of=projected")).output_projection);
  CHECK(needs_of(std::vector{need::all_queries()}, parameters("")).query_window == kAll);
}

TEST_CASE("needs are joined: the longest window, and whatever any looks at") {
  const Needs both = joined({.query_window = 7, .probes = true}, {.query_window = 3, .sensitivity = true});
  CHECK(both.query_window == 7);
  CHECK(both.probes);
  CHECK(both.sensitivity);
  CHECK(!both.output_projection);
  CHECK(!both.block_cosine);
}

TEST_CASE("each part that an offer lacks is named") {
  const TraceOffer nothing{.query_positions = {}, .candidates = {0, 6}};
  CHECK(unmet(Needs{.query_window = 2}, nothing) == "it needs queries, and none are recorded");
  CHECK(unmet(Needs{.evaluation_queries = true}, nothing) == "it needs queries, and none are recorded");
  CHECK(unmet(Needs{.output_projection = true}, nothing) == "it needs W_O, and none is recorded");
  CHECK(unmet(Needs{.probes = true}, nothing) == "it needs probe queries, and none are recorded");
  CHECK(unmet(Needs{.block_cosine = true}, nothing) == "it needs block_cosine, and none is recorded");
  CHECK(unmet(Needs{.sensitivity = true}, nothing) ==
        "it needs sensitivities (kvreplay record --sensitivity), and none are recorded");
  CHECK(unmet(Needs{}, nothing) == "");
  const TraceOffer few{.query_positions = {2, 5}, .candidates = {0, 6}};
  CHECK(unmet(Needs{.query_window = 2}, few) == "it needs the queries at positions 4 to 5, and none is recorded at 4");
  CHECK(unmet(Needs{.evaluation_queries = true}, few) ==
        "it needs queries from the compression point on, and none are recorded");
  CHECK(unmet(Needs{.evaluation_queries = true}, {.query_positions = {2, 6}, .candidates = {0, 6}}) == "");
}

TEST_CASE("a declaration with a check of its own is asked for its other needs too") {
  const auto passes = [](const TraceOffer&, const Parameters&) { return std::string(); };
  const auto refuses = [](const TraceOffer& offer, const Parameters&) {
    return offer.layer == 3 ? std::string("its file lacks layer 3") : std::string();
  };
  const TraceOffer nothing{.query_positions = {}, .candidates = {0, 6}, .layer = 3};
  const std::vector<Need> first{need::other("a file", passes), need::sensitivities()};
  CHECK(unmet(first, parameters(""), nothing).starts_with("it needs sensitivities"));
  const std::vector<Need> second{need::sensitivities(), need::other("a file", refuses)};
  TraceOffer some = nothing;
  some.sensitivity = true;
  CHECK(unmet(second, parameters(""), some) == "its file lacks layer 3");
  some.layer = 2;
  CHECK(unmet(second, parameters(""), some) == "");
}
