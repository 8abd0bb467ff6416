#include "analysis/compare/verdict_text.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <sstream>

#include "core/base/text_wrap.h"
#include "tests/analysis/compare/verdict_fixture.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

const TextStyle kUtf8{.width = 98, .utf8 = true, .colour = false};
const TextStyle kAscii{.width = 98, .utf8 = false, .colour = false};

std::size_t widest_line(const std::string& text) {
  std::istringstream lines(text);
  std::size_t widest = 0;
  for (std::string line; std::getline(lines, line);) widest = std::max(widest, display_width(line));
  return widest;
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// As many policies as there may be, some with names that nobody can show, some without values.
Dataset many_policies(std::size_t n) {
  ResultsFixture fixture;
  fixture.policies = {"random", "oracle", "snapkv"};
  while (fixture.policies.size() < n)
    fixture.policies.push_back(std::string(fixture.policies.size() % 3 == 0 ? 200 : 5, 'x') +
                               std::to_string(fixture.policies.size()));
  fixture.oracles.assign(n, 0);
  fixture.oracles[1] = 1;
  fixture.budgets = {0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 1};
  Dataset data = fixture.build();
  add_kept_fraction(data);
  add_metric(
      data, "output_error", "q_head", "ratio", "lower",
      [](const Place& at) {
        if (at.p % 10 == 9) return std::nan("");
        return at.b == 17 ? 0.0 : at.p == 1 ? 0.01 : 1.0 + static_cast<double>((at.p * 7 + at.b) % 23);
      },
      always(100));
  return data;
}

}  // namespace

TEST_CASE("a verdict fits on a page: ranking, leads, warnings, what to ask next") {
  // The figures are worked out in verdict_test.cpp. Bars: random's mean is the longest, 6 characters for 0.295; snapkv
  // 0.0737 / 0.295 * 6 = 1.5, knorm 0.116 / 0.295 * 6 = 2.4. Heights in eighths: 0.5 is the fifth, 0.25 the third,
  // 0.75 the seventh. 0.05 and 0.01 are reached by knorm at 0.25 + 0.75 * 0.75 and 0.25 + 0.75 * 0.95, by random at
  // 0.25 + 0.75 * 0.875 and 0.25 + 0.75 * 0.975, by the oracle at once and at 0.25 + 0.75 * 0.6.
  CHECK(verdict_text(verdict_of(verdict_results()), kUtf8, kVerdictRows) ==
        "hand-made: 3 policies at 4 budgets, 1 sample, layer 4\n"
        "Point prompt\n"
        "Ranked by output_error (neither sensitivities nor W_O here)\n"
        "\n"
        "           random ▁ █ oracle                 loss when keeping  at output_error\n"
        "  policy   5 % … 100 %          mean          5 %  10 %   25 %     ≤0.05  ≤0.01\n"
        "1 snapkv   ▅▅▅                0.0737 █▌      *0.2   0.2   *0.1      62 %   92 %\n"
        "2 knorm    ▃▇▃                 0.116 ██       0.4  *0.1    0.2      81 %   96 %\n"
        "3 random   ▁▁▁                 0.295 ██████   0.8   0.8    0.4      91 %   98 %\n"
        "───────────────────────────────────────────────────────────────────────────────\n"
        "  oracle   ███                0.0184         0.05  0.05  0.025      ≤5 %   70 %\n"
        "\n"
        "Leads at   snapkv 5 %, knorm 10 %, snapkv 25 %\n"
        "Beware     one sample: no intervals, another prompt may order them otherwise; 1 note in all\n"
        "           (--notes)\n"
        "\n"
        "Next\n"
        "  kvreplay report r.h5 -o report.html    to look at, in a browser\n"
        "  kvreplay compare r.h5 --against snapkv how much cache others need\n"
        "  kvreplay compare r.h5 --tables         all measures in full\n");
}

TEST_CASE("what is offered next stays at the point that is shown") {
  ResultsFixture fixture;
  fixture.samples = {"a", "a"};
  Dataset data = fixture.build();
  set_points(data, {"context", "the end"});
  add_kept_fraction(data);
  add_metric(
      data, "output_error", "q_head", "ratio", "lower", [](const Place& at) { return 1.0 + static_cast<double>(at.p); },
      always(10));
  const std::string text = verdict_text(verdict_of(data), kUtf8, kVerdictRows);
  CHECK(contains(text, "Point the end; another task: --case @context"));
  CHECK(contains(text, " --against snapkv --case '@the end'"));
}

TEST_CASE("without UTF-8 a verdict has digits and signs of ASCII") {
  const std::string text = verdict_text(verdict_of(verdict_results()), kAscii, kVerdictRows);
  CHECK(std::ranges::all_of(text, [](char c) { return c >= 0; }));
  CHECK(contains(text, "random 0 7 oracle"));
  CHECK(contains(text, " 262 "));  // knorm: 0.25, 0.75, 0.25 in eighths
  CHECK(contains(text, "<=0.05"));
}

TEST_CASE("no line is wider than it should be, and nothing is called nan") {
  for (const std::size_t n : {std::size_t{3}, std::size_t{109}}) {
    const Dataset data = many_policies(n);
    for (const Level level : {Level::all, Level::by_layer, Level::by_head, Level::by_case}) {
      ComparisonOptions options;
      options.level = level;
      const Comparison comparison = verdict_of(data, options);
      for (const bool utf8 : {true, false})
        for (const std::size_t width : {std::size_t{50}, std::size_t{60}, std::size_t{80}, std::size_t{98}})
          for (const std::optional<std::size_t> n_best :
               {std::optional<std::size_t>(), std::optional<std::size_t>(10)}) {
            const std::string text = verdict_text(comparison, {.width = width, .utf8 = utf8, .colour = false}, n_best);
            CHECK_MESSAGE(widest_line(text) <= width, text);
            CHECK(!contains(text, "nan"));
          }
    }
  }
}

TEST_CASE("of 109 policies a page is left") {
  const std::string text = verdict_text(verdict_of(many_policies(109)), kUtf8, kVerdictRows);
  CHECK(std::ranges::count(text, '\n') <= 36);
  CHECK(contains(text, " more (--all)"));
  const std::string all = verdict_text(verdict_of(many_policies(109)), kUtf8, std::nullopt);
  CHECK(std::ranges::count(all, '\n') > 109);
  CHECK(!contains(all, "(--all)"));
}

TEST_CASE("where there is less room bars go first, then heights, then the ends of names") {
  const auto text = [](const Dataset& data, std::size_t width) {
    return verdict_text(verdict_of(data), {.width = width, .utf8 = true, .colour = false}, kVerdictRows);
  };
  const std::string bar = "██████", heights = "random ▁ █ oracle";
  const Dataset few = verdict_results(), many = many_policies(20);
  CHECK(contains(text(few, 98), bar));
  CHECK(!contains(text(few, 76), bar));
  CHECK(contains(text(few, 76), heights));
  CHECK(!contains(text(few, 65), heights));
  CHECK(contains(text(few, 65), "at output_…"));
  CHECK(contains(text(many, 98), "xxxxxxx6"));  // of names that begin alike the middle goes
  CHECK(contains(text(many, 60), " xxxxx…xxx6 "));
  CHECK(contains(text(many, 60), "≤0.01"));
  CHECK(contains(text(many, 50), "2 more bounds do not fit into the width"));
}

TEST_CASE("the winner is bold and warnings are yellow, where there is colour") {
  const Comparison comparison = verdict_of(verdict_results());
  const std::string text = verdict_text(comparison, {.width = 98, .utf8 = true, .colour = true}, kVerdictRows);
  CHECK(contains(text, "\n\033[1m1 snapkv"));
  CHECK(contains(text, "\n\033[33mBeware"));
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i)
    if (text[i] == '\033')
      i = text.find('m', i);
    else
      plain += text[i];
  CHECK(plain == verdict_text(comparison, kUtf8, kVerdictRows));
}

TEST_CASE("states at the edge: one policy, one budget, tokens, no oracle, no measure to rank by") {
  ComparisonOptions one;
  one.policies = {"knorm"};
  std::string text = verdict_text(verdict_of(verdict_results(), one), kUtf8, kVerdictRows);
  CHECK(contains(text, "1 policy at 4 budgets"));
  CHECK(contains(text, "least ▁ █ most loss"));
  CHECK(!contains(text, "Leads at"));
  CHECK(!contains(text, "--against"));
  one.policies = {"oracle"};
  text = verdict_text(verdict_of(verdict_results(), one), kUtf8, kVerdictRows);
  CHECK(contains(text, "hand-made: 1 reference at 4 budgets"));
  CHECK(contains(text, "at output_error"));

  ResultsFixture fixture;
  fixture.budgets = {256};
  fixture.budget_kind = "tokens";
  fixture.n_candidates = 1024;
  Dataset tokens = fixture.build();
  add_metric(
      tokens, "output_error", "q_head", "ratio", "lower",
      [](const Place& at) { return 1.0 + static_cast<double>(at.p); }, always(10));
  text = verdict_text(verdict_of(tokens), kUtf8, kVerdictRows);
  CHECK(contains(text, "at 256 tokens"));
  CHECK(contains(text, "1 snapkv"));
  CHECK(!contains(text, "oracle"));
  CHECK(contains(text, "--by layer --budget 256"));

  Dataset nothing = ResultsFixture().build();
  add_kept_fraction(nothing);
  text = verdict_text(verdict_of(nothing), kUtf8, kVerdictRows);
  CHECK(contains(text, "Nobody is ranked: these results hold no values of predicted_kl"));
  CHECK(contains(text, "--tables shows what they hold: kept_fraction"));
}

TEST_CASE("a table by head shows as many as fit, those in which the best policy does worst") {
  ResultsFixture fixture;
  fixture.n_q_heads = 32;
  Dataset data = fixture.build();
  add_metric(
      data, "output_error", "q_head", "ratio", "lower",
      [](const Place& at) { return 0.125 * static_cast<double>(1 + at.h + at.p); }, always(10));
  ComparisonOptions options;
  options.level = Level::by_head;
  const std::string text = verdict_text(verdict_of(data, options), kUtf8, kVerdictRows);
  // Heads of 12.5 % more each: the last ones of both layers.
  CHECK(contains(text, " of 64 heads, those in which snapkv does worst; --tables shows all\n"));
  CHECK(contains(text, "  1.31\n"));
  CHECK(!contains(text, "  0.0 "));
  CHECK(widest_line(text) <= 98);
}

TEST_CASE("the user's own files stand in the commands, as words for a shell") {
  ComparisonOptions options;
  options.verdict = true;
  const Dataset data = verdict_results();
  const auto text = [&](const std::string& name) {
    return verdict_text(compare({{.name = name, .data = data}}, options), kUtf8, kVerdictRows);
  };
  CHECK(contains(text("my results.h5"), "kvreplay compare 'my results.h5' --tables"));
  CHECK(contains(text("a\033[31m.h5"), "'a\\x1b[31m.h5'"));
  CHECK(contains(text(std::string(300, 'f')), "kvreplay compare RESULTS... --tables"));
}

TEST_CASE("notes stand in groups, those on everything first") {
  Comparison comparison = verdict_of(verdict_results());
  comparison.notes = {{.metric = "output_error", .text = "one"},
                      {.metric = "", .text = "two"},
                      {.metric = "capacity", .text = "three"},
                      {.metric = "output_error", .text = "four"}};
  CHECK(contains(grouped_notes_text(comparison, kUtf8),
                 "\n\nAll measures\n- two\n\noutput_error\n- one\n- four\n\ncapacity\n- three\n"));
}
