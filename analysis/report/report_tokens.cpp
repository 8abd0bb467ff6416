#include "analysis/report/report_tokens.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "analysis/compare/pooling.h"
#include "analysis/report/spread.h"
#include "core/base/error.h"

namespace kvreplay {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kMostBudgets = 16;  // bits of a mask
constexpr std::size_t kFirstCases = 2;    // that find room whatever it takes
constexpr std::size_t kFewPolicies = 6;   // as many as the page has colours for
constexpr double kWinnersAt[] = {0.1, 0.05, 0.25, 0.5};

std::size_t nearest_budget(std::span<const double> kept, double wanted) {
  const auto distance = [&](double share) { return std::abs(std::log(share / wanted)); };
  return static_cast<std::size_t>(std::ranges::min_element(kept, {}, distance) - kept.begin());
}

/// The items in their order, without those that came before.
void append_new(std::vector<std::size_t>& list, std::span<const std::size_t> items) {
  for (const std::size_t item : items)
    if (std::ranges::find(list, item) == list.end()) list.push_back(item);
}

std::vector<std::size_t> up_to(std::size_t n) {
  std::vector<std::size_t> all(n);
  std::iota(all.begin(), all.end(), std::size_t{0});
  return all;
}

/// By value, the least first; those without one last.
std::vector<std::size_t> by_loss(const PooledMetric& pooled, std::size_t budget, std::vector<std::size_t> policies) {
  const auto loss = [&](std::size_t policy) {
    const double value = pooled.value(0, policy, budget);
    return std::isnan(value) ? std::numeric_limits<double>::infinity() : value;
  };
  std::ranges::stable_sort(policies, {}, loss);
  return policies;
}

/// The sets of one case that go into the report.
struct CasePlan {
  std::size_t n_tokens = 0, n_heads = 0;
  std::vector<std::size_t> policies, layers;  ///< indices, ascending

  std::size_t bytes() const { return 2 * policies.size() * layers.size() * n_heads * n_tokens; }
};

/// Policies and layers that have sets. Layers that keep their window alone have none.
CasePlan whole_case(const TokenSource& source, const Results& results, const ResultsCase& each) {
  CasePlan plan;
  std::vector<bool> has_sets(results.policies.size(), false);
  for (std::size_t l = 0; l < results.layers.size(); ++l) {
    bool of_layer = false;
    for (std::size_t p = 0; p < results.policies.size(); ++p) {
      const std::optional<SavedSetsShape> shape = source.shape(each, results.layers[l], results.policies[p].name);
      if (!shape || shape->n_candidates == 0) continue;
      of_layer = has_sets[p] = true;
      plan.n_tokens = std::max(plan.n_tokens, shape->first_position + shape->n_candidates);
      if (plan.n_heads == 0) plan.n_heads = results.kv_heads.empty() ? shape->n_heads : results.kv_heads.size();
      if (shape->n_heads % plan.n_heads != 0 || shape->n_budgets != source.budgets().size())
        throw InputError(fmt::format(
            "retained sets of {}, layer {}, {}: expected {} budgets and a multiple of {} heads, found {} and {}",
            each.label, results.layers[l], results.policies[p].name, source.budgets().size(), plan.n_heads,
            shape->n_budgets, shape->n_heads));
    }
    if (of_layer) plan.layers.push_back(l);
  }
  for (std::size_t p = 0; p < has_sets.size(); ++p)
    if (has_sets[p]) plan.policies.push_back(p);
  return plan;
}

/// As much of the plan as fits; without policies where nothing does.
CasePlan thinned(CasePlan plan, std::size_t bytes, std::span<const std::size_t> wanted) {
  const std::size_t n_sets = bytes / (2 * plan.n_heads * plan.n_tokens);  // of a policy in a layer
  const std::size_t n_all = plan.policies.size();
  std::size_t n_policies = std::clamp(n_sets / plan.layers.size(), std::min(n_all, kFewPolicies), n_all);
  const std::size_t n_layers = std::clamp<std::size_t>(n_sets / n_policies, 1, plan.layers.size());
  n_policies = std::min(n_policies, n_sets);
  std::vector<std::size_t> layers, policies;
  for (const std::size_t l : spread(plan.layers.size(), n_layers)) layers.push_back(plan.layers[l]);
  for (const std::size_t p : wanted)
    if (policies.size() < n_policies && std::ranges::binary_search(plan.policies, p)) policies.push_back(p);
  std::ranges::sort(policies);
  plan.layers = std::move(layers);
  plan.policies = std::move(policies);
  return plan;
}

std::vector<std::uint16_t> read_masks(const TokenSource& source, const Results& results, const ResultsCase& each,
                                      const CasePlan& plan, std::span<const std::size_t> set_budgets) {
  std::vector<std::uint16_t> masks(plan.bytes() / 2, 0);
  auto mask = masks.begin();
  for (const std::size_t p : plan.policies)
    for (const std::size_t l : plan.layers) {
      const auto begin = mask;
      mask += static_cast<std::ptrdiff_t>(plan.n_heads * plan.n_tokens);
      const std::optional<SavedSets> sets = source.read(each, results.layers[l], results.policies[p].name);
      if (!sets) continue;
      const std::size_t per_head = std::max<std::size_t>(1, sets->n_heads / plan.n_heads);  // query heads of a KV head
      for (std::size_t bit = 0; bit < set_budgets.size(); ++bit)
        for (std::size_t h = 0; h < sets->n_heads; ++h)
          for (std::size_t i = 0; i < sets->n_candidates; ++i)
            if (sets->keeps(set_budgets[bit], h, i))
              begin[static_cast<std::ptrdiff_t>(h / per_head * plan.n_tokens + sets->first_position + i)] |=
                  static_cast<std::uint16_t>(1u << bit);
    }
  return masks;
}

Json case_json(const Results& results, std::size_t index, const CasePlan& plan, const TokenPrompt& prompt) {
  const std::vector<std::string>& texts = prompt.token_texts;
  if (!texts.empty() && texts.size() < plan.n_tokens)
    throw InputError(fmt::format("token texts of {}: expected at least {}, found {}", results.cases[index].label,
                                 plan.n_tokens, texts.size()));
  Json spans = Json::array();
  for (const Span& span : prompt.spans)
    spans.push_back({{"name", span.name}, {"begin", span.tokens.begin}, {"end", span.tokens.end}});
  std::string answer;
  for (std::size_t i = prompt.decode_start; i < texts.size(); ++i) answer += texts[i];
  return {{"case", index},
          {"n_tokens", plan.n_tokens},
          {"n_heads", plan.n_heads},
          {"policies", plan.policies},
          {"layers", plan.layers},
          {"texts",
           texts.empty() ? Json() : Json(std::vector(texts.begin(), texts.begin() + std::ptrdiff_t(plan.n_tokens)))},
          {"spans", std::move(spans)},
          {"answer", answer}};
}

/// Indices of budgets that both have: among the results', and among the sets'.
struct SharedBudgets {
  std::vector<std::size_t> of_results, of_sets;
};

SharedBudgets shared_budgets(const Results& results, const TokenSource& source) {
  SharedBudgets shared, chosen;
  const std::vector<double>& held = source.budgets();
  for (std::size_t b = 0; b < results.budgets.size(); ++b)
    if (const auto same = std::ranges::find(held, results.budgets[b]); same != held.end()) {
      shared.of_results.push_back(b);
      shared.of_sets.push_back(static_cast<std::size_t>(same - held.begin()));
    }
  if (shared.of_results.empty()) throw InputError("retained sets: none of their budgets is one of the results'");
  for (const std::size_t i : spread(shared.of_results.size(), kMostBudgets)) {
    chosen.of_results.push_back(shared.of_results[i]);
    chosen.of_sets.push_back(shared.of_sets[i]);
  }
  return chosen;
}

}  // namespace

TokenOrder token_order(const Results& results, const ResultsMetric& metric, std::span<const ComparedPolicy> policies,
                       std::span<const ReportPoint> points) {
  TokenOrder order;
  const ReportPoint& opening = points.back();
  const std::vector<double> kept = nominal_kept_fraction(results);
  const std::vector<std::size_t> contest = contestants(policies);
  const PooledMetric pooled = pool_metric(results, metric, Level::all, opening.cases).front();
  for (const double share : kWinnersAt)
    if (const auto best = by_loss(pooled, nearest_budget(kept, share), contest); !best.empty())
      append_new(order.policies, std::span(best).first(1));
  const std::size_t tenth = nearest_budget(kept, kWinnersAt[0]);
  order.cases.push_back(opening.cases.front());
  if (!order.policies.empty()) {
    const PooledMetric by_case = pool_metric(results, metric, Level::by_case, opening.cases).front();
    std::size_t worst = 0;
    const auto lost = [&](std::size_t g) { return by_case.value(g, order.policies.front(), tenth); };
    for (std::size_t g = 1; g < by_case.groups.size(); ++g)
      if (std::isnan(lost(worst)) || lost(g) > lost(worst)) worst = g;
    if (by_case.groups.size() == opening.cases.size()) append_new(order.cases, std::span(&opening.cases[worst], 1));
  }
  append_new(order.cases, up_to(results.cases.size()));
  const auto append_named = [&](const char* name) {
    for (std::size_t p = 0; p < policies.size(); ++p)
      if (policies[p].name == name) append_new(order.policies, std::span(&p, 1));
  };
  std::ranges::for_each(kBaselines, append_named);
  append_named("oracle");
  append_new(order.policies, by_loss(pooled, tenth, contest));
  append_new(order.policies, up_to(policies.size()));
  return order;
}

Json add_tokens(const TokenSource& source, std::size_t bytes, const Results& results, const TokenOrder& order,
                CodedArrays& arrays) {
  const SharedBudgets budgets = shared_budgets(results, source);
  std::vector<std::size_t> with_sets;
  for (const std::size_t c : order.cases)
    if (source.prompt(results.cases[c]) != nullptr) with_sets.push_back(c);
  std::vector<std::pair<std::size_t, CasePlan>> plans;
  std::size_t left = bytes;
  for (std::size_t i = 0; i < with_sets.size(); ++i) {
    CasePlan plan = whole_case(source, results, results.cases[with_sets[i]]);
    if (plan.policies.empty()) continue;
    if (plan.bytes() > left && i >= kFirstCases) break;
    const std::size_t n_first = std::min(kFirstCases, with_sets.size());
    if (i < n_first) plan = thinned(std::move(plan), left / (n_first - i), order.policies);
    if (plan.policies.empty()) continue;
    left -= plan.bytes();
    plans.emplace_back(with_sets[i], std::move(plan));
  }
  std::ranges::sort(plans, {}, [](const auto& plan) { return plan.first; });
  Json cases = Json::array();
  for (const auto& [c, plan] : plans) {
    const ResultsCase& each = results.cases[c];
    cases.push_back(case_json(results, c, plan, *source.prompt(each)));
    arrays.add_codes(fmt::format("tokens:{}", c),
                     {plan.policies.size(), plan.layers.size(), plan.n_heads, plan.n_tokens},
                     read_masks(source, results, each, plan, budgets.of_sets));
  }
  return {{"cases", std::move(cases)},
          {"n_cases", with_sets.size()},
          {"arrays", arrays.index()},
          {"budgets", budgets.of_results}};
}

}  // namespace kvreplay
