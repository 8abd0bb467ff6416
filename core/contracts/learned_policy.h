#pragma once
// What was learned from traces of one model: networks that score tokens, budgets of heads. docs/formats/learned.md
// describes its file.

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kvreplay {

/// A network for each KV head: z = ws . x + b + w2 . silu(W1 x + b1), x = clamp((features - mu) / sd, -8, 8). The
/// arrays have leading axes [n_layers, n_kv_heads], n_layers counting LearnedPolicy::layers.
struct HeadNetworks {
  std::size_t n_features = 0, n_hidden = 0;
  std::vector<float> mu = {}, sd = {};       ///< [..., n_features], sd > 0
  std::vector<float> w1 = {};                ///< [..., n_features, n_hidden]
  std::vector<float> b1 = {}, w2 = {};       ///< [..., n_hidden]
  std::vector<float> ws = {};                ///< [..., n_features]
  std::vector<float> b = {};                 ///< [...]
  std::vector<std::string> trained_on = {};  ///< prompt_digest() of every prompt

  bool has_seen(std::string_view prompt) const;
};

struct LearnedScorer {
  std::string name;                           ///< of the scorer that evaluates it: lkv, lkv-q
  std::string features;                       ///< what x is made of, names with commas
  std::size_t keep_first = 0, keep_last = 0;  ///< tokens that are kept whatever their score
  HeadNetworks networks;                      ///< have seen all prompts
  std::vector<HeadNetworks> folds = {};       ///< have seen a part of them each, and together all

  /// Networks that have not seen the prompt: those of all prompts, or of a fold; nullptr when all have.
  const HeadNetworks* unseen_by(std::string_view prompt) const;
};

/// Damage curves of heads under one scorer, and budgets made of them. Leading axes as in HeadNetworks.
struct LearnedBudgets {
  std::string scorer;                   ///< policy that ranked the tokens
  std::string metric;                   ///< of damage: fisher, abs
  double prompt_length = 0;             ///< mean number of tokens up for eviction; 0: not known
  double uniform_mix = 0;               ///< share of every budget that all heads got alike in `fraction`
  std::size_t least_tokens = 0;         ///< a head keeps so many whatever the budget
  std::size_t keep_first = 0;           ///< first tokens that every head keeps whatever their score
  std::vector<double> grid;             ///< [n_points] fractions kept, rising up to 1
  std::vector<float> curve;             ///< [..., n_points] damage when a head keeps that much
  std::vector<double> retained;         ///< [n_retained] mean fractions kept, rising
  std::vector<float> fraction;          ///< [n_retained, ...] of each head; means over heads are `retained`
  std::vector<std::string> trained_on;  ///< prompt_digest() of every prompt
};

struct LearnedPolicy {
  std::string model_id;
  std::size_t n_layers = 0;         ///< of the model
  std::vector<std::size_t> layers;  ///< covered, ascending
  std::size_t n_q_heads = 0, n_kv_heads = 0, head_dim = 0, value_dim = 0;
  std::optional<LearnedBudgets> budgets = {};
  std::optional<LearnedScorer> scorer = {};
  std::filesystem::path path = {};  ///< of the file
  std::string digest = {};          ///< of the file

  /// Where a layer of the model stands in `layers`; nothing when it is not covered.
  std::optional<std::size_t> place_of(std::size_t layer) const;
};

/// Who reads learned policies: core knows no file format. To be set before a policy that names such a file is made.
using LearnedPolicyReader = LearnedPolicy (*)(const std::filesystem::path&);
void set_learned_policy_reader(LearnedPolicyReader reader);
/// Throws InputError naming file and object.
LearnedPolicy read_learned_policy(const std::filesystem::path& path);

}  // namespace kvreplay
