#pragma once
// From the quadratic form at one query to what the model is predicted to lose there.

#include <cstddef>
#include <span>

namespace kvreplay {

/// Where the form says u[t] nats: u[t] times the factor of the query (core/data/position_factors.h), or, where a trace
/// has no factors, log cosh(sqrt(2 u[t])): u[t] while it is small, sqrt(2 u[t]) - log 2 where it is large. That bounds
/// what one unlucky sketch can say; a loss does not grow with the square of an error for ever.
/// \param factors  [n_queries], or empty
double position_loss(double quadratic, std::span<const float> factors, std::size_t query);

/// What the form is multiplied with to become the loss: position_loss() / quadratic, its limit at 0.
double position_weight(double quadratic, std::span<const float> factors, std::size_t query);

}  // namespace kvreplay
