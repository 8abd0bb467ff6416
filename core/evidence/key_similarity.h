#pragma once
// How much each key looks like the others.

#include <vector>

#include "core/base/matrix.h"

namespace kvreplay {

/// Column means of the cosine matrix of keys as R-KV's code takes them (arXiv 2505.24133): the diagonal is 0, and so is
/// in each row i the latest j with cos > threshold, so that of similar tokens the newest is spared; a row without such
/// a j loses its entry of token 0. Norms have 1e-8 added.
///
/// A column sum is one inner product with the sum of all directions, so only the search for those j is quadratic; it
/// goes from the newest key backwards, a tile at a time, and is over for a row once it has found one.
/// \param keys  [n, head_dim]
/// \return [n]
std::vector<double> mean_similarity(ConstMatrixView keys, double threshold);

}  // namespace kvreplay
