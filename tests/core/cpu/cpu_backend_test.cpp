#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "core/engine/backend.h"
#include "tests/reference/reference.h"
#include "tests/support/captured_replay.h"
#include "tests/support/random_layer.h"
#include "tests/support/tested_backend.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

/// Runs one query head of a layer at one compression point through the backend's primitives, with sets of any shape.
struct Primitives {
  const LayerData& data;
  std::size_t compression_point;
  std::unique_ptr<Backend> backend = make_tested_backend();
  PanelWeights weights = {};
  PanelSums cells = {}, local = {};
  PanelErrors errors = {};

  void weigh(std::size_t q_head, std::size_t first_row, std::size_t n_queries) {
    const QueryPanels panel{{data.queries.matrix(q_head).rows_between(first_row, first_row + n_queries)},
                            std::span(data.query_positions).subspan(first_row, n_queries)};
    backend->weigh(attention_rule(data.model, data.layer), panel, keys(q_head), {0, panel.positions.back() + 1},
                   weights);
  }

  void errors_at_budgets(std::size_t q_head, const CellPlan& plan) {
    const ConstMatrixView values = data.values.matrix(q_head / data.model.group_size());
    std::vector<std::uint32_t> later(weights.n_keys - compression_point);
    std::iota(later.begin(), later.end(), static_cast<std::uint32_t>(compression_point));
    const std::size_t n_later[] = {later.size()};
    backend->sum_cells(weights, {0, 1}, values, later, n_later, local);
    backend->sum_cells(weights, {0, 1}, values, plan.order, plan.cell_ends, cells);
    backend->errors_at_budgets(plan, cells.panel(0), local.panel(0), data.model.value_dim, errors);
  }

  ConstMatrixView keys(std::size_t q_head) const { return data.keys.matrix(q_head / data.model.group_size()); }
};

/// Errors of one query head for these masks, against the reference.
void check_masks(const LayerData& data, std::size_t compression_point,
                 const std::vector<std::vector<std::uint8_t>>& masks) {
  const reference::Layer layer = reference_layer(data);
  Primitives primitives{data, compression_point};
  const CellPlan plan = plan_general(compression_point, masks);
  const std::size_t dim = data.model.value_dim, n_queries = data.query_positions.size() - compression_point;
  REQUIRE(n_queries <= kPanelWidth);
  for (std::size_t h = 0; h < data.model.n_q_heads; ++h) {
    primitives.weigh(h, compression_point, n_queries);
    primitives.errors_at_budgets(h, plan);
    double worst = 0;
    for (std::size_t b = 0; b < masks.size(); ++b)
      for (std::size_t q = 0; q < n_queries; ++q) {
        const auto cache = reference::retained_and_local(layer, retained_positions(plan, b), compression_point);
        const auto full = reference::full_output(layer, h, compression_point + q);
        const auto replayed = reference::output(layer, h, compression_point + q, cache);
        reference::Vector error;
        for (std::size_t d = 0; d < dim; ++d)
          error.push_back(primitives.errors.errors[(b * dim + d) * kPanelWidth + q]);
        const double distance = reference::norm(reference::difference(error, reference::difference(replayed, full)));
        worst = std::max(worst, distance / std::max(reference::norm(full), reference::norm(replayed)));
        const double mass = reference::mass(layer, h, compression_point + q, cache);
        CHECK(primitives.errors.recall[b * kPanelWidth + q] == doctest::Approx(mass).epsilon(1e-5));
      }
    CHECK(worst < kOutputTolerance);
  }
}

std::vector<std::vector<std::uint8_t>> random_masks(std::size_t n_budgets, std::size_t n, double threshold) {
  NormalNumbers numbers(n_budgets * 1000 + n);
  std::vector<std::vector<std::uint8_t>> masks(n_budgets, std::vector<std::uint8_t>(n));
  for (auto& mask : masks)
    for (auto& bit : mask) bit = numbers.next() > threshold;
  return masks;
}

}  // namespace

TEST_CASE("weights are exp(logit - max) of what a query sees, and 0 elsewhere") {
  for (const std::size_t sliding_window : {0u, 5u}) {
    const LayerData data =
        random_layer({.n_q_heads = 2, .n_kv_heads = 1, .n_tokens = 23, .sliding_window = sliding_window, .softcap = 4});
    const reference::Layer layer = reference_layer(data);
    Primitives primitives{data, 0};
    primitives.weigh(1, 3, 20);
    CHECK(primitives.weights.n_queries == 20);
    for (std::size_t q = 0; q < 20; ++q) {
      const reference::Vector attention = reference::attention(layer, 1, 3 + q, reference::positions_between(0, 23));
      const double largest = *std::ranges::max_element(attention);
      for (std::size_t i = 0; i < 23; ++i) {
        const double weight = primitives.weights.row(i, 0)[q];
        CHECK(weight == doctest::Approx(attention[i] / largest).epsilon(kOutputTolerance));
        if (attention[i] == 0) CHECK(weight == 0);
      }
    }
  }
}

TEST_CASE("sums over sets walk the tokens in any order, from any first key") {
  const LayerData data = random_layer({.n_q_heads = 1, .n_kv_heads = 1, .value_dim = 11, .n_tokens = 40});
  const auto backend = make_tested_backend();
  // One query at 39 and keys from 10 on; the sets {39, 12}, {}, {10, 30, 20}.
  const QueryPanels panel{{data.queries.matrix(0).rows_between(39, 40)},
                          std::span(data.query_positions).subspan(39, 1)};
  PanelWeights weights;
  backend->weigh({.scale = 0.5}, panel, data.keys.matrix(0), {10, 40}, weights);
  CHECK(weights.first_key == 10);
  CHECK(weights.n_keys == 30);
  const std::vector<std::uint32_t> positions = {39, 12, 10, 30, 20};
  const std::vector<std::size_t> ends = {2, 2, 5};
  PanelSums sums;
  backend->sum_cells(weights, {0, 1}, data.values.matrix(0), positions, ends, sums);
  for (std::size_t s = 0, begin = 0; s < 3; begin = ends[s++]) {
    double total = 0;
    std::vector<double> values(11, 0.0);
    for (std::size_t j = begin; j < ends[s]; ++j) {
      const double e = weights.row(positions[j], 0)[0];
      total += e;
      for (std::size_t d = 0; d < 11; ++d) values[d] += e * double{data.values.matrix(0)(positions[j], d)};
    }
    CHECK(sums.weights[s * kPanelWidth] == doctest::Approx(total).epsilon(1e-6));
    for (std::size_t d = 0; d < 11; ++d)
      CHECK(sums.values[(s * 11 + d) * kPanelWidth] == doctest::Approx(values[d]).epsilon(1e-5));
  }
}

TEST_CASE("sets of any shape give the reference's errors") {
  const LayerData data = random_layer({.value_dim = 7, .n_tokens = 60});
  check_masks(data, 40, random_masks(1, 40, 0));
  check_masks(data, 40, random_masks(3, 40, 0.5));
  check_masks(data, 40, random_masks(12, 40, -0.5));  // nearly every token is a cell of its own
}

TEST_CASE("disjoint sets, a full one and an empty one are replayed together") {
  const LayerData data = random_layer({.n_tokens = 50});
  std::vector<std::vector<std::uint8_t>> masks(4, std::vector<std::uint8_t>(30, 0));
  for (std::size_t i = 0; i < 30; ++i) {
    masks[0][i] = i < 15;
    masks[1][i] = i >= 15;
    masks[2][i] = 1;
  }
  check_masks(data, 30, masks);

  Primitives primitives{data, 30};
  primitives.weigh(0, 30, 20);
  primitives.errors_at_budgets(0, plan_general(30, masks));
  for (std::size_t at = 0; at < 8 * kPanelWidth; ++at)
    CHECK(primitives.errors.errors[2 * 8 * kPanelWidth + at] == 0.0f);
  for (std::size_t l = 0; l < kPanelWidth; ++l) {
    CHECK(primitives.errors.squared_errors[2 * kPanelWidth + l] == 0.0f);
    CHECK(primitives.errors.recall[2 * kPanelWidth + l] == 1.0f);
  }
}

TEST_CASE("a plan taken as nested and the same plan taken as general give the same errors") {
  const LayerData data = random_layer({.n_tokens = 50});
  std::vector<std::uint32_t> ranking(30);
  for (std::uint32_t i = 0; i < 30; ++i) ranking[i] = i * 7 % 30;
  const std::size_t counts[] = {12, 3, 30, 12, 0};
  CellPlan plan = plan_nested(ranking, counts);
  Primitives nested{data, 30}, general{data, 30};
  nested.weigh(2, 30, 20);
  nested.errors_at_budgets(2, plan);
  plan.nested = false;
  general.weigh(2, 30, 20);
  general.errors_at_budgets(2, plan);
  for (std::size_t at = 0; at < 5 * 8 * kPanelWidth; ++at)
    CHECK(nested.errors.errors[at] == doctest::Approx(general.errors.errors[at]).epsilon(1e-5));
}

TEST_CASE("a backend may be used for large and small work in turn") {
  const LayerData large = random_layer({.n_q_heads = 2, .n_kv_heads = 1, .value_dim = 16, .n_tokens = 300});
  const LayerData small = random_layer({.n_q_heads = 2, .n_kv_heads = 1, .value_dim = 3, .n_tokens = 20});
  Primitives fresh{small, 12}, used{small, 12};
  {
    Primitives first{large, 280};
    first.backend.swap(used.backend);
    first.weigh(0, 280, 20);
    first.errors_at_budgets(0, plan_general(280, random_masks(6, 280, 0)));
    first.backend.swap(used.backend);
  }
  for (Primitives* primitives : {&fresh, &used}) {
    primitives->weigh(1, 12, 8);
    primitives->errors_at_budgets(1, plan_general(12, random_masks(2, 12, 0)));
  }
  for (std::size_t at = 0; at < 2 * 3 * kPanelWidth; ++at) CHECK(fresh.errors.errors[at] == used.errors.errors[at]);
}

TEST_CASE("column sums of attention are summed over every query, in panels") {
  for (const std::size_t sliding_window : {0u, 20u}) {
    const LayerData data = random_layer({.n_q_heads = 1,
                                         .n_kv_heads = 1,
                                         .n_tokens = 90,
                                         .sliding_window = sliding_window,
                                         .query_ranges = {{4, 40}, {50, 90}}});
    std::vector<float> sums(90, -1.0f);
    const auto backend = make_tested_backend();
    const ColumnTask task{data.queries.matrix(0), data.keys.matrix(0), sums};
    backend->attention_sums(attention_rule(data.model, data.layer), data.query_positions, {&task, 1});
    const reference::Vector expected = reference::column_sums(reference_layer(data), 0, 0, 90);
    for (std::size_t i = 0; i < 90; ++i) CHECK(sums[i] == doctest::Approx(expected[i]).epsilon(kOutputTolerance));
    CHECK(std::accumulate(sums.begin(), sums.end(), 0.0) == doctest::Approx(76).epsilon(1e-6));
  }
}

TEST_CASE("column sums are the same however many queries there are at a time") {
  // A panel, two of them, some, as many as are taken together, and more; the last panel full or not.
  for (const std::size_t n_queries : {31u, 32u, 64u, 65u, 129u, 256u, 290u}) {
    const LayerData data = random_layer(
        {.n_q_heads = 2, .n_kv_heads = 1, .head_dim = 8, .n_tokens = 300, .query_ranges = {{300 - n_queries, 300}}});
    std::vector<float> sums(2 * 300, -1.0f);
    std::vector<ColumnTask> tasks;
    for (std::size_t h = 0; h < 2; ++h)
      tasks.push_back({data.queries.matrix(h), data.keys.matrix(0), std::span(sums).subspan(h * 300, 300)});
    make_tested_backend()->attention_sums(attention_rule(data.model, data.layer), data.query_positions, tasks);
    for (std::size_t h = 0; h < 2; ++h) {
      const reference::Vector expected = reference::column_sums(reference_layer(data), h, 0, 300);
      for (std::size_t i = 0; i < 300; ++i)
        CHECK(sums[h * 300 + i] == doctest::Approx(expected[i]).epsilon(kOutputTolerance));
    }
  }
}

TEST_CASE("column sums over no queries are 0") {
  const LayerData data = random_layer({.n_tokens = 5});
  std::vector<float> sums(5, 1.0f);
  const ColumnTask task{data.queries.matrix(0).rows_between(0, 0), data.keys.matrix(0), sums};
  make_tested_backend()->attention_sums({}, {}, {&task, 1});
  CHECK(std::ranges::all_of(sums, [](float x) { return x == 0; }));
}

TEST_CASE("outer products are summed over sets through the index, with both sides and without") {
  // More rows than a block, an empty set, a set of one, rows that no set holds.
  const LayerData layer = random_layer({.head_dim = 5, .value_dim = 3, .n_tokens = 400});
  std::vector<double> weights(400);
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = 0.25 * static_cast<double>(i % 7);
  std::vector<std::uint32_t> rows;
  for (std::uint32_t i = 399; i >= 20; --i) rows.push_back(i);
  const std::vector<std::size_t> ends = {1, 1, 130, 380};  // 1, 0, a block and one row, two blocks
  const auto backend = make_tested_backend();
  const auto check = [&](ConstMatrixView left, ConstMatrixView right, std::span<const double> w, bool with_sides) {
    OuterSums sums;
    backend->sum_outer_products(left, right, w, rows, ends, with_sides, sums);
    for (std::size_t s = 0, begin = 0; s < ends.size(); begin = ends[s++]) {
      const auto expected = [&](auto term) {
        double sum = 0;
        for (std::size_t at = begin; at < ends[s]; ++at) sum += (w.empty() ? 1 : w[rows[at]]) * term(rows[at]);
        return doctest::Approx(sum).epsilon(1e-12);
      };
      CHECK(sums.weights[s] == expected([](std::size_t) { return 1.0; }));
      for (std::size_t a = 0; a < left.cols; ++a) {
        if (with_sides)
          CHECK(sums.left[s * left.cols + a] == expected([&](std::size_t i) { return double{left(i, a)}; }));
        for (std::size_t b = 0; b < right.cols; ++b)
          CHECK(sums.products[(s * left.cols + a) * right.cols + b] ==
                expected([&](std::size_t i) { return double{left(i, a)} * double{right(i, b)}; }));
      }
      for (std::size_t b = 0; b < right.cols && with_sides; ++b)
        CHECK(sums.right[s * right.cols + b] == expected([&](std::size_t i) { return double{right(i, b)}; }));
    }
  };
  const ConstMatrixView keys = layer.keys.matrix(0), values = layer.values.matrix(1);
  for (const bool with_sides : {false, true})
    for (const bool weighted : {false, true}) {
      const std::span<const double> w = weighted ? std::span<const double>(weights) : std::span<const double>();
      check(values, keys, w, with_sides);
      check(keys, keys, w, with_sides);
    }
}
