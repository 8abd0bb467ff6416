#pragma once
// Retained sets that grow or shrink token by token, judged by the attention outputs of the evaluation queries: what
// each next token would change of sum_t ||o'_t - o_t||^2, over all queries that read one KV head.

#include <cstdint>
#include <span>
#include <vector>

#include "core/evidence/evaluation_weights.h"

namespace kvreplay {

/// Tokens from the compression point on always belong to the set; the candidates are added to them or removed one by
/// one. In memory: two float32 for every candidate and lane.
class ErrorSteps {
 public:
  enum class Direction {
    adding,   ///< from the local tokens alone
    removing  ///< from the full cache
  };

  /// \param values  [n_candidates, value_dim]. Throws InputError when outputs or values are not finite.
  ErrorSteps(EvaluationWeights weights, ConstMatrixView values, Direction direction);

  /// Candidates that have not been added or removed yet, in no order.
  std::span<const std::uint32_t> left() const { return tokens_; }
  /// How the error would change if this one alone were the next, [left().size()].
  std::vector<double> changes() const;
  /// Takes the `count` tokens that alone would leave the least error, and says which, best first. Of equal ones the
  /// lower position stays in the set.
  std::vector<std::uint32_t> take_best(std::size_t count);

 private:
  // The output of a set of tokens for one query.
  struct Output {
    double mass = 0;
    std::vector<double> difference;  // [value_dim] o' - o
    double summed_at = 0;            // mass when it was last summed up rather than changed
    bool stale = false;              // to be summed up again
  };
  // Where one candidate has nearly all of a query's mass, what the others put out without it cannot be had from the
  // sums of all: its weight is taken out of attention_, and the others' output is kept beside that of all.
  struct Lane {
    Output all;
    std::uint32_t heaviest = 0;  // of the candidates in the set, and its weight
    double weight = 0;
    bool apart = false;
    Output others;
  };

  void change_outputs(std::uint32_t token);
  void change(Output& output, double weight, std::size_t lane, std::span<const float> value) const;
  void erase(std::uint32_t token);
  void find_heaviest(std::size_t lane);
  void set_apart(std::size_t lane);
  Output summed_up(std::size_t lane) const;
  void refresh(std::size_t lane);

  Direction direction_;
  std::vector<std::uint32_t> tokens_;  // of each row of what follows; the first tokens_.size() rows count
  std::vector<std::size_t> rows_;      // [n_candidates] of each token
  Tensor attention_;                   // [1, n_candidates, n_lanes]
  Tensor distances_;                   // [1, n_candidates, n_lanes] ||v_i - o_t||^2
  Tensor values_;                      // [1, n_candidates, value_dim]
  Matrix64 outputs_, local_outputs_;   // [n_lanes, value_dim]
  std::vector<double> local_mass_;     // [n_lanes]
  std::vector<Lane> lanes_;
};

}  // namespace kvreplay
