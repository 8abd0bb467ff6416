#include "policies/shared/learned_scores.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "core/base/linear_algebra.h"
#include "core/contracts/policy.h"
#include "policies/shared/learned_model.h"
#include "policies/shared/token_features.h"

namespace kvreplay {
namespace {

constexpr double kClamp = 8;

// What is wrong with the pair of file and model, whatever the prompt.
std::string mismatch(const LearnedPolicy& learned, const ModelInfo& model, std::size_t layer,
                     const Parameters& parameters, const char* name, bool with_queries) {
  if (!learned.scorer) return "its file holds no scorer, only budgets";
  const LearnedScorer& scorer = *learned.scorer;
  if (scorer.name != name) return fmt::format("its file is for the scorer {}", scorer.name);
  if (std::string other = other_model(learned, model, parameters.is_word("model", "any")); !other.empty()) return other;
  if (!learned.place_of(layer))
    return fmt::format("its file has no networks for layer {}, only for {}", layer, fmt::join(learned.layers, ", "));
  const char* features = with_queries ? kQueryFeatures : kTokenFeatures;
  const std::size_t n = n_token_features(model.head_dim, model.value_dim, with_queries);
  if (scorer.features != features || scorer.networks.n_features != n)
    return fmt::format("its file has {} features '{}'; known are {}: '{}'", scorer.networks.n_features, scorer.features,
                       n, features);
  return "";
}

// The networks that may score this prompt; nullptr when there are none.
const HeadNetworks* networks_for(const LearnedScorer& scorer, const std::string& prompt, const Parameters& parameters) {
  if (parameters.is_word("trained", "allow")) return &scorer.networks;
  if (parameters.is_word("trained", "fold")) return scorer.unseen_by(prompt);
  return scorer.networks.has_seen(prompt) ? nullptr : &scorer.networks;
}

std::string seen_clause(const LearnedScorer& scorer, const Parameters& parameters) {
  return fmt::format("its file was trained on this prompt{}",
                     !parameters.is_word("trained", "fold")
                         ? " (trained=allow takes it all the same, trained=fold networks that were trained on others)"
                     : scorer.folds.empty() ? " and has no folds"
                                            : ", and so were all its folds");
}

double silu(double x) { return x / (1 + std::exp(-x)); }

// One KV head's network, ready for blocks of features.
class HeadNetwork {
 public:
  HeadNetwork(const HeadNetworks& all, std::size_t head)
      : n_features_(all.n_features), n_hidden_(all.n_hidden), vectors_(n_hidden_ + 1, n_features_) {
    const auto part = [&](const std::vector<float>& values, std::size_t size) {
      return std::span(values).subspan(head * size, size);
    };
    mu_ = part(all.mu, n_features_);
    sd_ = part(all.sd, n_features_);
    b1_ = part(all.b1, n_hidden_);
    w2_ = part(all.w2, n_hidden_);
    bias_ = all.b[head];
    const std::span<const float> w1 = part(all.w1, n_features_ * n_hidden_);
    for (std::size_t k = 0; k < n_hidden_; ++k)
      for (std::size_t f = 0; f < n_features_; ++f) vectors_(k, f) = w1[f * n_hidden_ + k];
    std::ranges::copy(part(all.ws, n_features_), vectors_.row(n_hidden_).begin());
  }

  // \param features  [n, n_features]
  // \param scores  [n]
  void score(std::span<const double> features, std::span<float> scores) const {
    Tensor x(1, scores.size(), n_features_);
    for (std::size_t r = 0, at = 0; r < scores.size(); ++r)
      for (std::size_t f = 0; f < n_features_; ++f, ++at)
        x.values()[at] =
            static_cast<float>(std::clamp((features[at] - double{mu_[f]}) / double{sd_[f]}, -kClamp, kClamp));
    const Matrix64 products = inner_products(vectors_, x.matrix(0));
    std::vector<double> z(scores.size(), bias_);
    for (std::size_t k = 0; k < n_hidden_; ++k)
      for (std::size_t r = 0; r < z.size(); ++r) z[r] += double{w2_[k]} * silu(products(k, r) + double{b1_[k]});
    for (std::size_t r = 0; r < z.size(); ++r) scores[r] = static_cast<float>(z[r] + products(n_hidden_, r));
  }

 private:
  std::size_t n_features_, n_hidden_;
  std::span<const float> mu_, sd_, b1_, w2_;
  double bias_;
  Matrix64 vectors_;  // [n_hidden + 1, n_features]: columns of W1, then ws
};

}  // namespace

ParameterTable learned_parameters() {
  return {.parameters = {{.name = "file",
                          .kind = ParameterKind::learned,
                          .default_value = "",
                          .help = "what kvreplay train wrote (docs/formats/learned.md); its name holds none of ',+'"},
                         {.name = "trained",
                          .kind = ParameterKind::choice,
                          .default_value = "refuse",
                          .help = "a prompt that the file was trained on is refused, allowed, or scored by the fold "
                                  "that was trained on others",
                          .choices = {"refuse", "allow", "fold"}},
                         {.name = "model",
                          .kind = ParameterKind::choice,
                          .default_value = "same",
                          .help = "the trace's model_id must be the file's, or may be any",
                          .choices = {"same", "any"}}}};
}

std::string learned_unmet_need(const TraceOffer& offer, const Parameters& parameters, const char* name,
                               bool with_queries) {
  const LearnedPolicy& learned = parameters.learned("file");
  if (offer.model == nullptr) return "";
  const std::string wrong = mismatch(learned, *offer.model, offer.layer, parameters, name, with_queries);
  if (!wrong.empty()) return wrong;
  return networks_for(*learned.scorer, offer.prompt, parameters) ? "" : seen_clause(*learned.scorer, parameters);
}

Scores learned_scores(const PromptView& view, const Parameters& parameters, const char* name, bool with_queries) {
  const LearnedPolicy& learned = parameters.learned("file");
  const std::string wrong = mismatch(learned, view.model(), view.layer().index, parameters, name, with_queries);
  if (!wrong.empty()) throw InputError(fmt::format("{}: {}", name, wrong));
  const HeadNetworks* networks = networks_for(*learned.scorer, view.unit().prompt, parameters);
  if (networks == nullptr) throw InputError(fmt::format("{}: {}", name, seen_clause(*learned.scorer, parameters)));

  const std::size_t n_heads = view.model().n_kv_heads;
  std::vector<HeadNetwork> heads;
  for (std::size_t h = 0; h < n_heads; ++h)
    heads.emplace_back(*networks, *learned.place_of(view.layer().index) * n_heads + h);
  Scores scores = Scores::for_heads(HeadAxis::kv, n_heads, view.n_candidates());
  const std::size_t width = networks->n_features;
  for_each_feature_block(view, with_queries,
                         [&](std::size_t head, std::size_t begin, std::span<const double> features) {
                           heads[head].score(features, scores.head(head).subspan(begin, features.size() / width));
                         });
  scores.protection.sinks = learned.scorer->keep_first;
  scores.protection.recent = learned.scorer->keep_last;
  return scores;
}

AddedCost learned_cost(const UnitDimensions& unit, const Parameters& parameters) {
  const std::optional<LearnedScorer>& scorer = parameters.learned("file").scorer;
  if (!scorer) return {};
  const double hidden = static_cast<double>(scorer->networks.n_hidden),
               features = static_cast<double>(scorer->networks.n_features);
  // The products in float64, which takes twice as long, and an exponential for each hidden number.
  const double per_token = 4 * (hidden + 1) * features + 20 * hidden;
  return {.flops = per_token * static_cast<double>(unit.n_candidates * unit.n_kv_heads), .bytes = 0};
}

}  // namespace kvreplay
