#pragma once
// Which policy, and how small a cache: for each policy the smallest cache whose predicted KL is small enough, or what
// it loses in a cache of some size, with intervals over samples.

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "analysis/compare/bootstrap.h"
#include "analysis/compare/compared_policy.h"
#include "analysis/compare/comparison.h"

namespace kvreplay {

/// Predicted KL per token that may be lost unless told otherwise, nats.
inline constexpr double kDefaultLoss = 0.05;

struct AdviceOptions {
  double loss = kDefaultLoss;                  ///< nats: predicted KL that may be lost
  std::optional<double> bytes = std::nullopt;  ///< instead: what the cache of a prompt of mean length may weigh
  std::vector<std::string> policies = {};      ///< empty: all
  std::string point = "";                      ///< the compression point; "": the last one
};

/// What one policy needs, or loses. Shares are of the full cache, as they are really kept.
struct AdvisedPolicy {
  static constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

  std::size_t policy = 0;    ///< index into Advice::policies
  bool answers = false;      ///< it holds the loss at some budget, or has budgets as small as the bytes
  bool at_smallest = false;  ///< at its smallest budget already: a smaller one may do
  bool tied = false;         ///< cannot be told from the best: the paired interval of the difference covers 0
  Estimate share;            ///< the smallest that holds the loss; what the bytes are, without an interval
  Estimate loss;             ///< nats, at Advice::share
  double least_loss = kNone, least_share = kNone;  ///< the end of its curve: what its largest budget loses
  double budget = kNone;                           ///< to ask for, so that `share` is kept; as said_share() has it
  double bytes = kNone;                            ///< of a prompt, at `share`; NaN: not measured
};

/// What the best policy loses on one sample.
struct SampleLoss {
  std::string sample;
  double loss = 0;  ///< nats
};

struct AdvisedTrace {
  std::string name, fingerprint;
};

struct Advice {
  AdviceOptions asked;
  std::string model_id;
  std::optional<std::size_t> model_layers;
  std::string of_layers;  ///< "0,1,2": those that the predictions are of
  std::vector<AdvisedTrace> traces;
  std::string point;
  std::vector<std::string> other_points;
  std::size_t n_samples = 0;
  double prompt_tokens = 0;                  ///< before the point, mean over cases
  double full_bytes = AdvisedPolicy::kNone;  ///< of such a prompt's cache; NaN: not measured
  std::vector<ComparedPolicy> policies;
  std::vector<AdvisedPolicy> rows;            ///< contestants with an answer, best first; then those without one
  double share = AdvisedPolicy::kNone;        ///< of the best policy, as said: where losses are read off
  double first_share = AdvisedPolicy::kNone;  ///< of the draws of samples, in which it comes first
  std::vector<SampleLoss> samples;            ///< of the best policy, the least loss first
  std::vector<std::string> warnings;          ///< clauses: what weakens this

  /// nullptr where no policy has an answer.
  const AdvisedPolicy* best() const { return rows.empty() || !rows.front().answers ? nullptr : &rows.front(); }
  /// What is kept may weigh as much as the whole cache.
  bool fits_whole() const { return asked.bytes && *asked.bytes >= full_bytes; }
};

/// Throws UsageError for names that the results lack, InputError where they hold no predicted_kl, no policy that could
/// run live, or not the bytes that are asked for.
Advice advise(ReadResults read, const AdviceOptions& options);

/// The share with three digits, so that people can type it: 0.1837 is 0.184, or 0.183 where it is not to be exceeded.
double said_share(double share, bool may_grow = true);

}  // namespace kvreplay
