#pragma once
// How far a quadratic form is off at each query, as the passes say that recorded it.

#include <vector>

#include "core/data/trace_info.h"

namespace kvreplay {

/// Every drop pass d of a sensitivity lost KL[d, t] at target t, of which the form says u[d, t]. The form is wrong by a
/// factor that belongs to the token, and much the same for all that is evicted: too small where the model is sure of
/// it, too large where one sketch had bad luck.
///
///     f[t] = (sum_d KL[d, t] + c) / (sum_d u[d, t] + c),   c = n_drop_passes / 12 nats
///
/// and 1 at queries that are no targets. c keeps what is lost too little to tell near 1.
/// \return [n_queries], positive; empty where the trace does not say what its passes lost at each query
std::vector<float> position_factors(const SensitivityInfo& sensitivity);

/// The relative error of predictions that the spread of their sketches does not show, measured where traces have no
/// factors: docs/studies/predicted-kl.md.
inline constexpr float kUnknownSpread = 0.4f;

/// The same where the trace has them: how well the factors of all other drop passes foretell what a pass lost, the root
/// of the mean square of log(sum_t f[t] u[d, t] / sum_t KL[d, t]) over d. kUnknownSpread where that cannot be told.
float factor_spread(const SensitivityInfo& sensitivity);

}  // namespace kvreplay
