#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/contracts/allocator.h"
#include "core/contracts/policy.h"
#include "policies/shared/learned_model.h"
#include "policies/shared/learned_shares.h"

namespace kvreplay {
namespace {

// Why this table is not for this layer of this prompt, as one clause; "" when it is.
std::string refusal(const Parameters& parameters, const ModelInfo& model, std::size_t layer,
                    const std::string& prompt) {
  const LearnedPolicy& learned = parameters.learned("table");
  if (!learned.budgets)
    return "its file holds no budgets, only a scorer (kvreplay fit-budgets makes them; SCORER+uniform goes without)";
  if (std::string other = other_model(learned, model, parameters.is_word("model", "any")); !other.empty()) return other;
  if (!learned.place_of(layer))
    return fmt::format("its file has no budgets for layer {}, only for {}", layer, fmt::join(learned.layers, ", "));
  const std::vector<std::string>& seen = learned.budgets->trained_on;
  if (!parameters.is_word("trained", "allow") && std::ranges::find(seen, prompt) != seen.end())
    return "its budgets were fitted on this prompt (trained=allow takes them all the same)";
  if (parameters.is_word("by", "count") && learned.budgets->prompt_length <= 0)
    return "its file does not say how long the prompts were that it was fitted on: by=count has no meaning";
  return "";
}

std::string unmet_need(const TraceOffer& offer, const Parameters& parameters) {
  return offer.model == nullptr ? "" : refusal(parameters, *offer.model, offer.layer, offer.prompt);
}

// Tokens of all heads that the table covers, in a cache of n.
std::vector<std::size_t> table_tokens(const LearnedBudgets& budgets, std::size_t tokens, std::size_t n,
                                      const Parameters& parameters) {
  const std::size_t n_heads = budgets.curve.size() / budgets.grid.size();
  if (tokens == 0 || tokens == n) return std::vector(n_heads, tokens);
  // Curves are read at shares of this cache, or of one as long as those that they were measured on.
  const double length = parameters.is_word("by", "count") ? budgets.prompt_length : static_cast<double>(n);
  const double mix = parameters.is_word("mix", "file") ? budgets.uniform_mix : parameters.real("mix");
  if (static_cast<double>(tokens) > length * budgets.grid.back())
    throw UnfitError(fmt::format("by=count: its curves reach {:.0f} tokens, and {} are asked for",
                                 length * budgets.grid.back(), tokens));
  std::vector<double> wanted = learned_shares(budgets, static_cast<double>(tokens) / length, mix);
  for (double& each : wanted) each *= length;
  return whole_tokens(wanted, tokens, budgets.least_tokens, n);
}

HeadBudgets allocate_learned(const PromptView& view, const Scores& scores, std::span<const Budget> budgets,
                             const Parameters& parameters) {
  const std::string wrong = refusal(parameters, view.model(), view.layer().index, view.unit().prompt);
  if (!wrong.empty()) throw InputError("learned: " + wrong);
  const LearnedPolicy& learned = parameters.learned("table");
  const std::size_t n_kv_heads = view.model().n_kv_heads, sets_per_head = scores.n_heads() / n_kv_heads;
  const std::size_t first = *learned.place_of(view.layer().index) * n_kv_heads;
  HeadBudgets counts;
  for (const Budget& budget : budgets) {
    const std::vector<std::size_t> tokens =
        table_tokens(*learned.budgets, budget.tokens, scores.n_candidates(), parameters);
    std::vector<std::size_t>& layer = counts.tokens.emplace_back();
    for (std::size_t h = 0; h < scores.n_heads(); ++h) layer.push_back(tokens[first + h / sets_per_head]);
  }
  return counts;
}

// A file that holds scorer and budgets is named once, and what was allowed to one is allowed to the other.
std::string from_scorer(const ParameterTable& table, const Parameters& scorer) {
  if (std::ranges::none_of(table.parameters,
                           [](const ParameterSpec& spec) { return spec.kind == ParameterKind::learned; }))
    return "";
  return fmt::format("table={}{}{}", scorer.choice("file"), scorer.is_word("trained", "allow") ? ",trained=allow" : "",
                     scorer.is_word("model", "any") ? ",model=any" : "");
}

// Without the attention sinks a small budget is worth little, and the curves were measured with them.
Companion sinks(const Parameters& parameters) {
  const LearnedPolicy& learned = parameters.learned("table");
  if (!learned.budgets || learned.budgets->keep_first == 0) return {};
  return {"protect", fmt::format("sinks={}", learned.budgets->keep_first)};
}

const RegisterAllocator learned{{
    .name = "learned",
    .summary = "head budgets learned from traces: how much the model loses through each head when it keeps so much, "
               "on average over other prompts, decides what it keeps of this one",
    .formula =
        "minimise sum of damage_{l,h}(x_{l,h}) over the lower convex hulls of the table's curves, mean x = the "
        "budget; b_{l,h} = ((1 - mix) x_{l,h} + mix x) n, at least the table's floor; the first keep_first tokens of "
        "the table stay in every head (+protect:sinks=0 lets them go)",
    .paper = "LKV-H of LKV: End-to-End Learning of Head-wise Budgets and Token Selection, arXiv 2605.06676, after its "
             "description; water-filling over measured curves instead of gradients",
    .needs = {need::other("a file that kvreplay fit-budgets made from other prompts of the same model", unmet_need)},
    .parameters = {.parameters = {{.name = "table",
                                   .kind = ParameterKind::learned,
                                   .default_value = "",
                                   .help = "what kvreplay fit-budgets wrote (docs/formats/learned.md), without it the scorer's "
                                           "own file; its name holds none of ',+'"},
                                  {.name = "by",
                                   .kind = ParameterKind::choice,
                                   .default_value = "fraction",
                                   .help = "curves are read at shares of the cache, or at tokens kept, whatever the "
                                           "length of the prompt",
                                   .choices = {"fraction", "count"}},
                                  {.name = "mix",
                                   .kind = ParameterKind::real_or_choice,
                                   .default_value = "file",
                                   .help = "share of the budget that all heads get alike; `file`: as it was fitted",
                                   .choices = {"file"},
                                   .max = 1},
                                  {.name = "trained",
                                   .kind = ParameterKind::choice,
                                   .default_value = "refuse",
                                   .help = "a prompt that the table was fitted on is refused, or allowed",
                                   .choices = {"refuse", "allow"}},
                                  {.name = "model",
                                   .kind = ParameterKind::choice,
                                   .default_value = "same",
                                   .help = "the trace's model_id must be the file's, or may be any",
                                   .choices = {"same", "any"}}}},
    .traits = {.level = AllocatorLevel::both},
    .allocate = allocate_learned,
    .from_scorer = from_scorer,
    .companion = sinks,
}};

}  // namespace
}  // namespace kvreplay
