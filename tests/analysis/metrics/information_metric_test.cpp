// capacity, mutual_information, jacobian_information: against the reference, and what must hold of them.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "analysis/metrics/capacity_terms.h"
#include "core/base/error.h"
#include "tests/reference/information.h"
#include "tests/support/measured_metric.h"
#include "tests/support/random_layer.h"
#include "tests/support/tested_backend.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

// Sums in float64 of float32 inputs, in another order than the reference's.
constexpr double kTolerance = 1e-9;
// RoPE is taken off with cosines rounded to float32, as models put it on; keys bent by a softcap are float32 too.
constexpr double kFloat32Tolerance = 1e-5;

using ReferenceMetric = double (*)(const reference::Layer&, std::size_t, std::size_t, std::size_t,
                                   const reference::Positions&, const reference::Information&);

struct Surrogate {
  std::string name;
  ReferenceMetric reference;
  bool covariance;  // the default of `moment`
};

const std::vector<Surrogate> kSurrogates = {{"capacity", reference::capacity, false},
                                            {"mutual_information", reference::mutual_information, false},
                                            {"jacobian_information", reference::jacobian_information, true}};

// Every retained set and the full cache of a replay give what the reference gives.
void check_metric(const std::string& metric, const ReplayCase& replay_case, ReferenceMetric expected,
                  const reference::Information& method, double tolerance = kTolerance) {
  CAPTURE(metric);
  const LayerData& data = *replay_case.data;
  const reference::Layer layer = reference_layer(data);
  const Range candidates = candidates_at(replay_case.compression_point, data.layer, replay_case.evict_sliding);
  const Measured measured = measure(metric, replay_case);
  const std::size_t group = data.model.group_size();
  for (std::size_t g = 0; g < measured.n_heads(); ++g) {
    const auto nats = [&](const reference::Positions& set) {
      return expected(layer, g, candidates.begin, candidates.end, set, method);
    };
    CHECK(measured.denominator(g) ==
          doctest::Approx(nats(reference::positions_between(candidates.begin, candidates.end))).epsilon(tolerance));
    for (std::size_t p = 0; p < replay_case.policies.size(); ++p)
      for (std::size_t b = 0; b < replay_case.budgets.size(); ++b) {
        CAPTURE(p);
        CAPTURE(b);
        double mean = 0;  // over the sets of the query heads; they are one where the KV head has a set
        for (std::size_t h = g * group; h < (g + 1) * group; ++h)
          mean += nats(measured.retained(p, h, b)) / static_cast<double>(group);
        CHECK(measured.numerator(g, p, b) == doctest::Approx(mean).epsilon(tolerance));
      }
  }
}

LayerShape shape_with_everything() {
  return {.n_q_heads = 4,
          .n_kv_heads = 2,
          .head_dim = 8,
          .value_dim = 6,
          .hidden_size = 10,
          .n_tokens = 60,
          .rope_layout = RopeLayout::half,
          .rotary_dim = 8,
          .seed = 3};
}

ReplayCase case_of(const LayerData& layer) {
  return {.data = &layer,
          .compression_point = 40,
          .policies = {"knorm", "snapkv:window=5,group=none", "streaming-llm", "knorm+ada"},
          .budgets = {40, 3, 12, 0, 25}};
}

// A policy that keeps tokens in this order, the same for all heads.
Scorer keeping(const std::string& name, std::vector<std::size_t> order) {
  return {.name = name,
          .summary = "",
          .formula = "",
          .paper = "",
          .score = [order = std::move(order)](const PromptView& view, const Parameters&) {
            Scores scores = Scores::for_heads(HeadAxis::kv, view.model().n_kv_heads, view.n_candidates());
            for (std::size_t h = 0; h < scores.n_heads(); ++h)
              for (std::size_t place = 0; place < order.size(); ++place)
                scores.head(h)[order[place]] = -static_cast<float>(place);
            return scores;
          }};
}

}  // namespace

TEST_CASE("surrogates equal the reference for every anchor, moment, channel and direction") {
  const LayerData layer = random_layer(shape_with_everything());
  const ReplayCase replay_case = case_of(layer);
  for (const Surrogate& surrogate : kSurrogates)
    for (const std::string anchor : {"evaluation", "prompt"})
      for (const bool covariance : {false, true})
        for (const bool each : {false, true})
          for (const bool projected : {false, true}) {
            const std::string text =
                surrogate.name + ":anchor=" + anchor + (covariance ? ",moment=covariance" : ",moment=second") +
                (each ? ",heads=each" : "") + (projected ? ",vectors=projected" : "") + ",sinks=3,future=7";
            check_metric(text, replay_case, surrogate.reference,
                         {.anchor = anchor,
                          .covariance = covariance,
                          .each_head = each,
                          .projected = projected,
                          .sinks = 3,
                          .future = 7},
                         anchor == "prompt" ? kFloat32Tolerance : kTolerance);
          }
}

TEST_CASE("surrogates equal the reference at every noise, and capacity with every weight") {
  const LayerData layer = random_layer(shape_with_everything());
  const ReplayCase replay_case = case_of(layer);
  for (const Surrogate& surrogate : kSurrogates) {
    check_metric(surrogate.name, replay_case, surrogate.reference, {.covariance = surrogate.covariance});
    check_metric(surrogate.name + ":noise=0.01", replay_case, surrogate.reference,
                 {.covariance = surrogate.covariance, .noise = 0.01});
    check_metric(surrogate.name + ":noise=signal", replay_case, surrogate.reference,
                 {.covariance = surrogate.covariance, .signal_noise = true});
    check_metric(surrogate.name + ":noise=signal,vectors=projected", replay_case, surrogate.reference,
                 {.covariance = surrogate.covariance, .projected = true, .signal_noise = true});
  }
  for (const std::string weight : {"cosine", "dot", "exp", "softmax", "quadratic", "jacobian"})
    check_metric("capacity:tau=0.7,weight=" + weight, replay_case, reference::capacity, {.weight = weight, .tau = 0.7});
}

TEST_CASE("surrogates equal the reference with a softcap, and in a sliding layer") {
  LayerShape shape = shape_with_everything();
  shape.softcap = 2;
  const LayerData capped = random_layer(shape);
  for (const Surrogate& surrogate : kSurrogates)
    check_metric(surrogate.name, case_of(capped), surrogate.reference, {.covariance = surrogate.covariance},
                 kFloat32Tolerance);
  shape.softcap = 0;
  shape.sliding_window = 16;
  const LayerData sliding = random_layer(shape);
  ReplayCase replay_case = case_of(sliding);
  replay_case.evict_sliding = true;
  replay_case.budgets = {15, 3};
  for (const Surrogate& surrogate : kSurrogates)
    check_metric(surrogate.name, replay_case, surrogate.reference, {.covariance = surrogate.covariance});
}

TEST_CASE("capacity of two tokens by hand") {
  // Softmax weights 1/4 and 3/4 of the candidates, values 2 and 1, in one dimension:
  // all: 1/2 log(1 + 1/4 * 4 + 3/4 * 1) = 1/2 log 2.75; the first alone: 1/2 log 2; noise 0.5: 1/2 log(1 + 1.75 / 0.5)
  LayerData layer = weighted_layer({{1, 3, 1}});
  const float values[] = {2, 1, 0};
  std::ranges::copy(values, layer.values.values().begin());
  const ReplayCase replay_case{.data = &layer,
                               .compression_point = 2,
                               .policies = {"first"},
                               .budgets = {1, 2},
                               .extra_scorers = {keeping("first", {0, 1})}};
  const Measured measured = measure("capacity:weight=softmax", replay_case);
  CHECK(measured.denominator(0) == doctest::Approx(std::log(2.75) / 2));
  CHECK(measured.numerator(0, 0, 0) == doctest::Approx(std::log(2.0) / 2));
  CHECK(measured.value(0, 0, 0) == doctest::Approx(std::log(2.0) / std::log(2.75)));
  CHECK(measured.value(0, 0, 1) == doctest::Approx(1));
  // The weight's scale counts: half the noise, twice the signal.
  CHECK(measure("capacity:weight=softmax,noise=0.5", replay_case).denominator(0) ==
        doctest::Approx(std::log(1 + 1.75 / 0.5) / 2));
  // Scale-free: sigma^2 = (1 + 0.75) / (2 tokens * 1 dimension), so 1 + X / sigma^2 = 1 + 2.
  CHECK(measure("capacity:weight=softmax,noise=signal", replay_case).denominator(0) ==
        doctest::Approx(std::log(3.0) / 2));
}

TEST_CASE("the linear form is not monotone: equal keys and opposite values cancel") {
  // M = 1*1 + (-1)*1 = 0 for both tokens, 1 for either alone; all queries are 1, so Lambda = 1:
  // 0 nats together, 1/2 log(1 + 1) = 0.347 alone
  LayerData layer = weighted_layer({{1, 1, 1}});
  const float keys[] = {1, 1, 0}, values[] = {1, -1, 0};
  std::ranges::copy(keys, layer.keys.values().begin());
  std::ranges::copy(values, layer.values.values().begin());
  std::ranges::fill(layer.queries.values(), 1.0f);
  const ReplayCase replay_case{.data = &layer,
                               .compression_point = 2,
                               .policies = {"first"},
                               .budgets = {1, 2},
                               .extra_scorers = {keeping("first", {0, 1})}};
  const Measured linear = measure("mutual_information", replay_case);
  CHECK(linear.numerator(0, 0, 0) == doctest::Approx(std::log(2.0) / 2));
  CHECK(linear.numerator(0, 0, 1) == doctest::Approx(0));
  CHECK(linear.denominator(0) == doctest::Approx(0));
  const Measured diagonal = measure("capacity", replay_case);
  CHECK(diagonal.numerator(0, 0, 0) < diagonal.numerator(0, 0, 1));
}

TEST_CASE("the Jacobian of two tokens by hand") {
  // Logits at the mean query 1 are k = 0 and log 3: a = 1/4 and 3/4. J = a0 a1 (u1 - u0)(k1 - k0) = 3/16 * 2 * log 3.
  // Queries 0 and 2: covariance 1. One token alone has no choice to make: 0.
  LayerData layer = weighted_layer({{1, 1, 1, 1}});
  const float keys[] = {0, std::log(3.0f), 0, 0}, values[] = {1, 3, 0, 0};
  std::ranges::copy(keys, layer.keys.values().begin());
  std::ranges::copy(values, layer.values.values().begin());
  const float queries[] = {7, 7, 0, 2};  // of the positions 2 and 3 after the compression point; others do not count
  std::ranges::copy(queries, layer.queries.values().begin());
  layer.model.softmax_scale = 1;
  const ReplayCase replay_case{.data = &layer,
                               .compression_point = 2,
                               .policies = {"first"},
                               .budgets = {1, 2},
                               .extra_scorers = {keeping("first", {0, 1})}};
  const Measured measured = measure("jacobian_information", replay_case);
  const double jacobian = 3.0 / 16 * 2 * std::log(3.0);
  CHECK(measured.denominator(0) == doctest::Approx(std::log(1 + jacobian * jacobian) / 2));
  CHECK(measured.numerator(0, 0, 0) == doctest::Approx(0));
}

TEST_CASE(
    "what a token alone is worth: L(all) - L(all without i) = -1/2 log(1 - s_i), and the s_i add up to the "
    "effective dimension") {
  const LayerData layer = random_layer(shape_with_everything());
  constexpr std::size_t n = 40;
  ReplayCase replay_case{.data = &layer, .compression_point = n, .budgets = {n - 1}};
  for (std::size_t dropped = 0; dropped < n; ++dropped) {
    std::vector<std::size_t> order;
    for (std::size_t i = 0; i < n; ++i)
      if (i != dropped) order.push_back(i);
    order.push_back(dropped);
    replay_case.policies.push_back("without-" + std::to_string(dropped));
    replay_case.extra_scorers.push_back(keeping(replay_case.policies.back(), order));
  }
  const auto backend = make_tested_backend();
  const PromptView view = PromptView(layer, {0, n}, *backend).with_lookahead();
  const reference::Layer same = reference_layer(layer);
  for (const std::string text : {"", "vectors=projected,noise=0.1", "weight=quadratic,noise=signal"}) {
    CAPTURE(text);
    const Measured measured = measure("capacity" + (text.empty() ? "" : ":" + text), replay_case);
    const Parameters parameters({.parameters = capacity_parameters()}, "capacity", text);
    for (std::size_t g = 0; g < 2; ++g) {
      const std::vector<double> losses = leave_one_out_losses(view, g, parameters);
      REQUIRE(losses.size() == n);
      double effective_dimension = 0;
      for (std::size_t i = 0; i < n; ++i) {
        CHECK(losses[i] == doctest::Approx(measured.denominator(g) - measured.numerator(g, i, 0)).epsilon(1e-7));
        effective_dimension += 1 - std::exp(-2 * losses[i]);
      }
      CHECK(effective_dimension > 0);
      CHECK(effective_dimension < 6);  // value_dim
      if (!text.empty()) continue;
      // d - tr(A^-1) = d/dc of log det(I + c X) at c = 1, by a central difference: noise 1/c
      const auto nats = [&](double c) {
        return reference::capacity(same, g, 0, n, reference::positions_between(0, n), {.noise = 1 / c});
      };
      CHECK(effective_dimension == doctest::Approx(2 * (nats(1.001) - nats(0.999)) / 0.002).epsilon(1e-5));
    }
  }
}

TEST_CASE("capacity is monotone and submodular: a token adds less to more") {
  const LayerData layer = random_layer(shape_with_everything());
  NormalNumbers numbers(5);
  for (int round = 0; round < 20; ++round) {
    // A random order of 40 tokens: A = the first 8, B = the first 20, i = the last one.
    std::vector<std::pair<double, std::size_t>> keyed;
    for (std::size_t i = 0; i < 40; ++i) keyed.emplace_back(numbers.next(), i);
    std::ranges::sort(keyed);
    std::vector<std::size_t> order, early;
    for (const auto& [key, i] : keyed) order.push_back(i);
    std::swap(order[20], order[39]);  // `late`: B, then i
    early = order;
    std::swap(early[8], early[20]);  // `early`: A, then i
    const Measured measured = measure("capacity", {.data = &layer,
                                                   .compression_point = 40,
                                                   .policies = {"early", "late"},
                                                   .budgets = {8, 9, 20, 21},
                                                   .extra_scorers = {keeping("early", early), keeping("late", order)}});
    for (std::size_t g = 0; g < 2; ++g) {
      const double gain_of_a = measured.numerator(g, 0, 1) - measured.numerator(g, 0, 0);
      const double gain_of_b = measured.numerator(g, 1, 3) - measured.numerator(g, 1, 2);
      CHECK(gain_of_b >= 0);
      CHECK(gain_of_a >= gain_of_b);
    }
  }
}

TEST_CASE("surrogates do not depend on the order of heads, or on an orthogonal rotation of values") {
  const LayerData layer = random_layer(shape_with_everything());
  const LayerData permuted = with_permuted_heads(layer, {1, 0});
  LayerData rotated = copy_of(layer);
  // Reflection at the plane of (1, 1, 1, 1, 1, 1): v - v.1 / 3, orthogonal.
  for (std::size_t g = 0; g < 2; ++g)
    for (std::size_t i = 0; i < layer.n_tokens(); ++i) {
      const std::span<float> value = rotated.values.matrix(g).row(i);
      float sum = 0;
      for (const float x : value) sum += x;
      for (float& x : value) x -= sum / 3;
    }
  for (const Surrogate& surrogate : kSurrogates) {
    CAPTURE(surrogate.name);
    ReplayCase replay_case = case_of(layer);
    replay_case.policies = {"knorm", "streaming-llm"};
    const Measured original = measure(surrogate.name, replay_case);
    replay_case.data = &permuted;
    const Measured other_heads = measure(surrogate.name, replay_case);
    replay_case.data = &rotated;
    const Measured other_values = measure(surrogate.name, replay_case);
    for (std::size_t g = 0; g < 2; ++g)
      for (std::size_t p = 0; p < 2; ++p)
        for (std::size_t b = 0; b < replay_case.budgets.size(); ++b) {
          CHECK(other_heads.numerator(1 - g, p, b) == original.numerator(g, p, b));
          CHECK(other_values.numerator(g, p, b) == doctest::Approx(original.numerator(g, p, b)).epsilon(1e-5));
        }
  }
}

TEST_CASE("a retained set far below the largest logit keeps a Jacobian of its own") {
  // Logits at the mean query: 3000 for the first token, small ones for the others, which alone are retained. exp(-3000)
  // is no float64; the weights are renormalised over the retained set.
  LayerData layer = random_layer({.n_q_heads = 1, .n_kv_heads = 1, .n_tokens = 30, .seed = 9});
  const reference::Layer plain = reference_layer(layer);
  double power = 0;
  reference::Vector mean(8, 0.0);
  for (std::size_t t = 20; t < 30; ++t)
    for (std::size_t d = 0; d < 8; ++d) mean[d] += plain.queries[0][t][d] / 10;
  for (const double x : mean) power += x * x;
  for (std::size_t d = 0; d < 8; ++d)
    layer.keys.matrix(0)(0, d) = static_cast<float>(3000 / layer.model.softmax_scale * mean[d] / power);
  std::vector<std::size_t> order;
  for (std::size_t i = 1; i < 20; ++i) order.push_back(i);
  order.push_back(0);
  check_metric("jacobian_information",
               {.data = &layer,
                .compression_point = 20,
                .policies = {"all-but-the-first"},
                .budgets = {5, 19, 20},
                .extra_scorers = {keeping("all-but-the-first", order)}},
               reference::jacobian_information, {.covariance = true});
}

TEST_CASE("signals whose squares span more than float64 are measured, and not refused") {
  // Where every eigenvalue is 0 or far above the noise, a quarter of the noise adds log 2 for each that is not 0.
  const LayerData layer = random_layer(shape_with_everything());
  ReplayCase replay_case = case_of(layer);
  replay_case.policies = {"knorm"};
  replay_case.budgets = {3, 5, 40};
  for (const std::string metric : {"mutual_information", "jacobian_information"}) {
    CAPTURE(metric);
    const Measured loud = measure(metric + ":noise=1e-17", replay_case);
    const Measured quiet = measure(metric + ":noise=2.5e-18", replay_case);
    const double lost = metric == "jacobian_information" ? 1 : 0;  // the mean of all is taken off
    for (std::size_t b = 0; b < replay_case.budgets.size(); ++b) {
      const double rank = std::min(replay_case.budgets[b] - lost, static_cast<double>(layer.model.value_dim));
      CHECK(quiet.numerator(0, 0, b) - loud.numerator(0, 0, b) == doctest::Approx(rank * std::log(2)).epsilon(1e-4));
    }
  }
}

TEST_CASE("a matrix that float64 cannot factorise is an error that says so") {
  const LayerData layer = random_layer(shape_with_everything());
  const auto message = [&](const std::string& metric) -> std::string {
    try {
      measure(metric, case_of(layer));
    } catch (const InputError& error) {
      return error.what();
    }
    return "none";
  };
  CHECK(message("capacity") == "none");
  CHECK(message("capacity:weight=exp,tau=300")
            .find("metric 'capacity:weight=exp,tau=300', layer 0: I + X / 1 is not positive definite") == 0);
  CHECK(message("capacity:weight=exp,tau=2000").find("weight=exp overflows: the largest tau k.mu is ") !=
        std::string::npos);
}
