#pragma once
// Scores from attention that the last prompt queries paid: the family of SnapKV, TOVA, H2O and their kin.

#include <string>

#include "core/contracts/scorer.h"

namespace kvreplay {

/// How the query heads of a group become one score. `none` leaves every query head its own retained set.
enum class GroupReduction { mean, max, sum, none };
enum class Pooling { none, average, max };

struct ObservationWindow {
  std::size_t window = kAll;        ///< last prompt queries; kAll: every one
  bool mean = true;                 ///< mean over the queries that see a token, else the sum
  bool without_window = false;      ///< only tokens before the window are scored (and pooled); the rest gets 0
  Pooling pooling = Pooling::none;  ///< over neighbouring tokens, stride 1
  std::size_t kernel = 1;           ///< pooling width, odd
  GroupReduction group = GroupReduction::mean;
  bool group_first = false;  ///< reduce the group before pooling over tokens, not after
};

/// Scores [n_kv_heads or n_q_heads, n_candidates].
Scores observe(const PromptView& view, const ObservationWindow& observation);

/// Scores of KV heads, 0 everywhere; the last `window` tokens are protected. Throws InputError, as
/// PromptView::queries() does, where their queries are not recorded. For scorers that fill in the tokens before the
/// window themselves.
Scores scores_before_window(const PromptView& view, std::size_t window);

/// One row per query head to one row per KV head, not for GroupReduction::none.
/// \param rows  [1, n_q_heads, n]
Tensor reduce_group(const Tensor& rows, std::size_t group_size, GroupReduction group);

/// Pools in place as torch does: averages pad with counted zeros, maxima with nothing.
/// \param kernel  odd
void pool(std::span<float> scores, Pooling pooling, std::size_t kernel);

/// The parameters `group`, `pooling` and `kernel` as several scorers declare them, and their values.
ParameterSpec group_parameter();
/// For Scorer::head_axis of a scorer with that parameter.
HeadAxis group_axis(const Parameters& parameters);
ParameterSpec pooling_parameter(std::string default_value);
ParameterSpec kernel_parameter(std::string default_value);
GroupReduction group_of(const Parameters& parameters);
Pooling pooling_of(const Parameters& parameters);

}  // namespace kvreplay
