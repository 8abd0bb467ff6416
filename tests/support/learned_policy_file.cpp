#include "tests/support/learned_policy_file.h"

#include <fmt/format.h>

#include <cmath>
#include <numeric>

#include "tests/support/random_layer.h"
#include "traces/learned/learned_policy_file.h"

namespace kvreplay::testing {

LearnedPolicy learned_policy(const ModelInfo& model) {
  LearnedPolicy policy{.model_id = model.model_id,
                       .n_layers = model.n_layers,
                       .layers = std::vector<std::size_t>(model.n_layers),
                       .n_q_heads = model.n_q_heads,
                       .n_kv_heads = model.n_kv_heads,
                       .head_dim = model.head_dim,
                       .value_dim = model.value_dim};
  std::iota(policy.layers.begin(), policy.layers.end(), std::size_t{0});
  return policy;
}

HeadNetworks random_networks(std::size_t n_heads, std::size_t n_features, std::size_t n_hidden, std::uint64_t seed) {
  NormalNumbers numbers(seed);
  const auto random = [&](std::size_t size, double spread) {
    std::vector<float> values(n_heads * size);
    for (float& x : values) x = static_cast<float>(spread * numbers.next());
    return values;
  };
  return {.n_features = n_features,
          .n_hidden = n_hidden,
          .mu = std::vector<float>(n_heads * n_features, 0.0f),
          .sd = std::vector<float>(n_heads * n_features, 1.0f),
          .w1 = random(n_features * n_hidden, 1 / std::sqrt(static_cast<double>(n_features))),
          .b1 = random(n_hidden, 0.5),
          .w2 = random(n_hidden, 1),
          .ws = random(n_features, 0.3),
          .b = random(1, 1),
          .trained_on = {}};
}

LearnedScorer random_scorer(const ModelInfo& model, const std::string& name, std::uint64_t seed) {
  const bool with_queries = name == "lkv-q";
  const std::string features = "k_unrot,v,lnk,lnv,ln1pi,ln1pr,frac";
  const std::size_t n_features = model.head_dim + model.value_dim + 5 + (with_queries ? 3 : 0);
  return {.name = name,
          .features = with_queries ? features + ",lna1,lna8,lna64" : features,
          .keep_first = 4,
          .keep_last = 16,
          .networks = random_networks(model.n_layers * model.n_kv_heads, n_features, 8, seed)};
}

std::string write_random_scorer(const TemporaryFolder& folder, const ModelInfo& model, const std::string& name) {
  const std::string path =
      folder.file(fmt::format("{}-{}-{}-{}.h5", name, model.n_layers, model.head_dim, model.value_dim));
  LearnedPolicy policy = learned_policy(model);
  policy.scorer = random_scorer(model, name);
  if (!std::filesystem::exists(path)) write_learned_policy_file(path, policy);
  return path;
}

LearnedBudgets random_budgets(const ModelInfo& model, std::uint64_t seed) {
  NormalNumbers numbers(seed);
  LearnedBudgets budgets{.scorer = "snapkv",
                         .metric = "fisher",
                         .prompt_length = 100,
                         .uniform_mix = 0.2,
                         .least_tokens = 4,
                         .grid = {0.001, 0.05, 0.25, 0.5, 1},
                         .curve = {},
                         .retained = {0.25},
                         .fraction = std::vector<float>(model.n_layers * model.n_kv_heads, 0.25f),
                         .trained_on = {"another prompt"}};
  for (std::size_t h = 0; h < model.n_layers * model.n_kv_heads; ++h) {
    double damage = 0;
    std::vector<float> curve = {0};
    for (std::size_t p = 1; p < budgets.grid.size(); ++p)
      curve.push_back(static_cast<float>(damage += std::exp(2 * numbers.next())));
    budgets.curve.insert(budgets.curve.end(), curve.rbegin(), curve.rend());
  }
  return budgets;
}

std::string write_random_budgets(const TemporaryFolder& folder, const ModelInfo& model) {
  const std::string path = folder.file(fmt::format("budgets-{}-{}.h5", model.n_layers, model.n_kv_heads));
  LearnedPolicy policy = learned_policy(model);
  policy.budgets = random_budgets(model);
  if (!std::filesystem::exists(path)) write_learned_policy_file(path, policy);
  return path;
}

}  // namespace kvreplay::testing
