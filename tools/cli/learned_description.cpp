#include "tools/cli/learned_description.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "core/base/printable.h"
#include "tools/cli/trace_description.h"
#include "tools/cli/two_columns.h"

namespace kvreplay {
namespace {

using Json = nlohmann::ordered_json;

std::string prompts_text(const std::vector<std::string>& digests) {
  return fmt::format("{} prompt{}", digests.size(), digests.size() == 1 ? "" : "s");
}

}  // namespace

std::string describe_learned(const std::string& path, std::uintmax_t bytes, const LearnedPolicy& policy) {
  std::vector<TwoColumnRow> rows;
  const auto add = [&](const char* title, std::string left, std::string right) {
    rows.push_back({title, std::move(left), std::move(right)});
  };
  add("", "fingerprint", policy.digest);
  add("", "model", policy.model_id);
  add("", "heads",
      fmt::format("{} query heads on {} KV heads, head_dim {}, value_dim {}", policy.n_q_heads, policy.n_kv_heads,
                  policy.head_dim, policy.value_dim));
  add("", "layers", fmt::format("{} of {}: {}", policy.layers.size(), policy.n_layers, index_list_text(policy.layers)));
  if (policy.scorer) {
    const LearnedScorer& scorer = *policy.scorer;
    add("scorer", "name", scorer.name);
    add("scorer", "features", fmt::format("{} numbers: {}", scorer.networks.n_features, scorer.features));
    add("scorer", "hidden units", fmt::format("{}", scorer.networks.n_hidden));
    add("scorer", "kept anyway", fmt::format("the first {} and last {} tokens", scorer.keep_first, scorer.keep_last));
    add("scorer", "trained on", prompts_text(scorer.networks.trained_on));
    for (std::size_t f = 0; f < scorer.folds.size(); ++f)
      add("scorer", fmt::format("fold {}", f), "trained on " + prompts_text(scorer.folds[f].trained_on));
  }
  if (policy.budgets) {
    const LearnedBudgets& budgets = *policy.budgets;
    add("budgets", "ranked by", budgets.scorer);
    add("budgets", "damage", budgets.metric);
    add("budgets", "curves at", fmt::format("{:.4g} of the cache", fmt::join(budgets.grid, " ")));
    add("budgets", "totals", fmt::format("{:.4g} of the cache", fmt::join(budgets.retained, " ")));
    add("budgets", "uniform mix", fmt::format("{:.4g}", budgets.uniform_mix));
    add("budgets", "kept anyway",
        fmt::format("{} tokens, the first {} among them", budgets.least_tokens, budgets.keep_first));
    add("budgets", "fitted on", prompts_text(budgets.trained_on));
  }
  return fmt::format("{}: a learned policy, format kvlkv-1, {}\n{}", printable(path), bytes_text(bytes),
                     two_columns(rows));
}

Json learned_json(const std::string& path, std::uintmax_t bytes, const LearnedPolicy& policy) {
  Json json{{"file", path},
            {"format", "kvlkv-1"},
            {"bytes", bytes},
            {"fingerprint", policy.digest},
            {"model_id", policy.model_id},
            {"n_layers", policy.n_layers},
            {"layers", policy.layers},
            {"n_q_heads", policy.n_q_heads},
            {"n_kv_heads", policy.n_kv_heads},
            {"head_dim", policy.head_dim},
            {"value_dim", policy.value_dim}};
  if (policy.scorer) {
    const LearnedScorer& scorer = *policy.scorer;
    json["scorer"] = {{"name", scorer.name},
                      {"features", scorer.features},
                      {"n_features", scorer.networks.n_features},
                      {"n_hidden", scorer.networks.n_hidden},
                      {"keep_first", scorer.keep_first},
                      {"keep_last", scorer.keep_last},
                      {"trained_on", scorer.networks.trained_on},
                      {"folds", Json::array()}};
    for (const HeadNetworks& fold : scorer.folds) json["scorer"]["folds"].push_back({{"trained_on", fold.trained_on}});
  }
  if (policy.budgets) {
    const LearnedBudgets& budgets = *policy.budgets;
    json["budgets"] = {{"scorer", budgets.scorer},
                       {"metric", budgets.metric},
                       {"prompt_length", budgets.prompt_length},
                       {"uniform_mix", budgets.uniform_mix},
                       {"least_tokens", budgets.least_tokens},
                       {"keep_first", budgets.keep_first},
                       {"grid", budgets.grid},
                       {"curve", budgets.curve},
                       {"retained", budgets.retained},
                       {"fraction", budgets.fraction},
                       {"trained_on", budgets.trained_on}};
  }
  return json;
}

}  // namespace kvreplay
