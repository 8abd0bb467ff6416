#pragma once
// Information of retained sets in plain float64 loops (see reference.h): W_O multiplied out, determinants by
// elimination.

#include <cstddef>
#include <string>

#include "tests/reference/reference.h"

namespace reference {

/// What a metric of this kind takes, with the program's defaults.
struct Information {
  std::string anchor = "evaluation", weight = "cosine";
  bool covariance = false, each_head = false, projected = false;
  bool signal_noise = false;
  double noise = 1, tau = 5;
  std::size_t sinks = 4, future = 512;
};

/// Nats of some of the candidates [begin, end) of one KV head, the mean over channels with each_head.
/// \param retained  positions
double capacity(const Layer& layer, std::size_t kv_head, std::size_t begin, std::size_t end, const Positions& retained,
                const Information& method);
double mutual_information(const Layer& layer, std::size_t kv_head, std::size_t begin, std::size_t end,
                          const Positions& retained, const Information& method);
double jacobian_information(const Layer& layer, std::size_t kv_head, std::size_t begin, std::size_t end,
                            const Positions& retained, const Information& method);

/// log det by elimination.
/// \param matrix  positive definite
double log_det(Matrix matrix);

}  // namespace reference
