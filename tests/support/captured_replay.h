#pragma once
// A replay that keeps all that the engine hands to its metrics.

#include <cstddef>
#include <string>
#include <vector>

#include "tests/reference/reference.h"
#include "tools/replay/unit_replay.h"

namespace kvreplay::testing {

struct ReplayCase {
  const LayerData* data = nullptr;
  std::size_t compression_point = 0;
  std::vector<std::string> policies = {};
  std::vector<double> budgets = {};  ///< tokens
  bool evict_sliding = false;
  std::vector<Scorer> extra_scorers = {};  ///< besides the registered ones
  std::vector<ChosenMetric> metrics = {};
  std::vector<Span> spans = {};
  DType dtype = DType::float16;
};

/// One (policy, query head, query): what its output loses at each budget.
struct CapturedOutputs {
  std::vector<reference::Vector> errors;  ///< [n_budgets][value_dim]
  std::vector<double> squared_errors;     ///< [n_budgets]
  std::vector<double> recall;             ///< [n_budgets]
};

struct CapturedReplay {
  UnitResult result;                                               ///< sums: of ReplayCase::metrics
  std::vector<std::vector<reference::Vector>> reference;           ///< [n_q_heads][n_queries][value_dim]
  std::vector<std::vector<std::vector<CapturedOutputs>>> outputs;  ///< [n_policies][n_q_heads][n_queries]
};

/// Checks on the way that the engine calls the metrics as core/contracts/metric.h promises, idle lanes included.
CapturedReplay replay(const ReplayCase& replay_case);

/// Token positions retained at a budget.
reference::Positions retained_positions(const CellPlan& plan, std::size_t budget, std::size_t first_position = 0);
/// ... by a query head, whoever owns the sets.
reference::Positions retained_positions(const LayerSelection& selection, const ModelInfo& model, std::size_t q_head,
                                        std::size_t budget, std::size_t first_position = 0);

/// The largest distances of a replay from the reference, given the sets that it retained.
struct Deviations {
  double outputs = 0;  ///< of full-cache outputs, in shares of their norm
  double errors = 0;   ///< of error vectors, in shares of the norm of the output, replayed or full, that is larger
  double squared_errors = 0;            ///< from the squared norm of the error vector, relative
  double recall = 0;                    ///< absolute
  std::size_t n_nonzero_when_full = 0;  ///< errors that are not exactly 0 where everything is retained
};

Deviations deviations(const ReplayCase& replay_case, const CapturedReplay& captured);

/// Outputs equal those of the reference to this share of their norm: float32 logits of size 10 are good to some 1e-6,
/// and that is the relative error of a softmax weight. Measured on the layers of these tests: at most 3e-6.
inline constexpr double kOutputTolerance = 1e-5;
/// Sums of up to 64 float32 squares.
inline constexpr double kSquareTolerance = 1e-5;

/// Replays and checks that all of it equals the reference.
CapturedReplay check_against_reference(const ReplayCase& replay_case);

}  // namespace kvreplay::testing
