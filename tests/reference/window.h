#pragma once
// Policies that look at the rows of attention of an observation window, in plain float64 loops (see reference.h).

#include <cstddef>

#include "tests/reference/reference.h"

namespace reference {

/// Attention [window][n] that the last `window` queries before `end` pay to the candidates [begin, end).
Matrix window_rows(const Layer& layer, std::size_t q_head, std::size_t begin, std::size_t end, std::size_t window);

// ---- scores of the candidates [begin, end)

/// One row per query head.
/// \param exact  compare values with the query's output, else with the mean value
Matrix caote(const Layer& layer, std::size_t begin, std::size_t end, std::size_t window, bool exact, bool largest);
/// One row per query head, of the tokens before the window.
Matrix lava(const Layer& layer, std::size_t begin, std::size_t end, std::size_t window, std::size_t kernel);
Matrix cake(const Layer& layer, std::size_t begin, std::size_t end, std::size_t window, double gamma,
            std::size_t kernel);
/// One row per KV head, of the tokens before the window.
Matrix defensive(const Layer& layer, std::size_t begin, std::size_t end, std::size_t window, std::size_t kernel);
Matrix r_kv(const Layer& layer, std::size_t begin, std::size_t end, std::size_t window, std::size_t kernel,
            double lambda, double threshold);

/// KVzip, one row per query head; 0 for tokens in no chunk.
Matrix probed(const Layer& layer, std::size_t end, std::size_t sinks);

}  // namespace reference
