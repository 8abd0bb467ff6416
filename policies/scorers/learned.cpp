#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "core/base/error.h"
#include "policies/shared/chosen_scorers.h"
#include "policies/shared/learned_model.h"
#include "policies/shared/learned_scores.h"

namespace kvreplay {
namespace {

const HeadChoice* choice_of(const LearnedPolicy& learned) {
  return learned.budgets && learned.budgets->choice ? &*learned.budgets->choice : nullptr;
}

bool sees_queries(const std::string& networks) { return networks == "lkv-q"; }

// The heads of a layer that chose this scorer.
std::vector<std::size_t> heads_of(const LearnedPolicy& learned, std::size_t place, std::size_t scorer) {
  std::vector<std::size_t> heads;
  for (std::size_t h = 0; h < learned.n_kv_heads; ++h)
    if (learned.budgets->choice->of_head[place * learned.n_kv_heads + h] == scorer) heads.push_back(h);
  return heads;
}

// Calls use(name, policy, heads) for each scorer that heads of this layer chose; a policy of nothing is the file's own
// networks.
template <typename Use>
void for_each_chosen(const LearnedPolicy& learned, std::size_t layer, Use use) {
  const HeadChoice& choice = *learned.budgets->choice;
  for (std::size_t s = 0; s < choice.scorers.size(); ++s)
    if (const std::vector<std::size_t> heads = heads_of(learned, *learned.place_of(layer), s); !heads.empty())
      use(choice.scorers[s], chosen_policy(choice.scorers[s]), heads);
}

// What is wrong with the pair of file and model, whatever the prompt.
std::string mismatch(const LearnedPolicy& learned, const ModelInfo& model, std::size_t layer,
                     const Parameters& parameters) {
  if (choice_of(learned) == nullptr)
    return "its file holds no choice of scorers (kvreplay fit-budgets with several --scorer makes one)";
  if (std::string other = other_model(learned, model, parameters.is_word("model", "any")); !other.empty()) return other;
  if (!learned.place_of(layer))
    return fmt::format("its file has no choice for layer {}, only for {}", layer, fmt::join(learned.layers, ", "));
  try {
    for (const std::string& name : choice_of(learned)->scorers) chosen_policy(name);
  } catch (const UsageError& error) {
    return fmt::format("a scorer of its file cannot be used here: {}", error.what());
  }
  return "";
}

std::string unmet_need(const TraceOffer& offer, const Parameters& parameters) {
  if (offer.model == nullptr) return "";
  const LearnedPolicy& learned = parameters.learned("file");
  std::string need = mismatch(learned, *offer.model, offer.layer, parameters);
  if (!need.empty()) return need;
  for_each_chosen(learned, offer.layer, [&](const std::string& name, const std::optional<Policy>& policy, const auto&) {
    if (!need.empty()) return;
    need = policy ? policy->unmet_need(offer) : learned_unmet_need(offer, parameters, name.c_str(), sees_queries(name));
  });
  return need;
}

// Places in the order in which each head's scorer gives its budget to tokens, what is protected at the front.
Scores chosen_scores(const PromptView& view, const Parameters& parameters) {
  const LearnedPolicy& learned = parameters.learned("file");
  const std::string wrong = mismatch(learned, view.model(), view.layer().index, parameters);
  if (!wrong.empty()) throw InputError("learned: " + wrong);
  Scores scores = Scores::for_heads(HeadAxis::kv, view.model().n_kv_heads, view.n_candidates());
  for_each_chosen(learned, view.layer().index,
                  [&](const std::string& name, const std::optional<Policy>& policy, const auto& heads) {
                    const Scores own = policy ? policy->scores(view)
                                              : learned_scores(view, parameters, name.c_str(), sees_queries(name));
                    Protection protection = own.protection;
                    protection.sinks = std::max(protection.sinks, learned.budgets->keep_first);
                    for (const std::size_t h : heads) {
                      float place = 0;
                      for (const std::uint32_t i : rank(own.head(h), protection)) scores.head(h)[i] = place--;
                    }
                  });
  return scores;
}

AddedCost cost_of_chosen(const UnitDimensions& unit, const Parameters& parameters) {
  const HeadChoice* choice = choice_of(parameters.learned("file"));
  AddedCost cost;
  if (choice == nullptr) return cost;
  for (const std::string& name : choice->scorers) {
    AddedCost one;
    try {
      const std::optional<Policy> policy = chosen_policy(name);
      one = policy ? policy->scorer_cost(unit) : learned_cost(unit, parameters);
    } catch (const UsageError&) {
      continue;  // mismatch() tells
    }
    cost.flops += one.flops;
    cost.bytes = std::max(cost.bytes, one.bytes);
  }
  return cost;
}

const RegisterScorer learned{{
    .name = "learned",
    .family = "learned",
    .summary = "each head's tokens ranked by the scorer that lost least there on other prompts",
    .formula = "s_i = -(place of i in the order of the head's scorer); what that scorer protects, and the first "
               "keep_first tokens of the file, stand at the front",
    .paper =
        "after LKV: End-to-End Learning of Head-wise Budgets and Token Selection, arXiv 2605.06676: the selection of "
        "a head is chosen among known ones instead of learned",
    .needs = {need::other("a file that kvreplay fit-budgets made with several scorers from other prompts of the same "
                          "model",
                          unmet_need),
              need::of_chosen_scorers("file")},
    .parameters = learned_parameters(),
    .score = chosen_scores,
    .cost = cost_of_chosen,
}};

}  // namespace
}  // namespace kvreplay
