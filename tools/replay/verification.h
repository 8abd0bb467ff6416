#pragma once
// The commands by which a user runs a policy and a budget in the live model.

#include <string>
#include <vector>

namespace kvreplay {

struct VerificationOptions {
  std::vector<std::string> traces;  ///< paths
  std::string model;                ///< its path; "": MODEL, for the reader to fill in
  std::string policy;
  double budget = 1;  ///< share of the cache
  std::string compression_point;
  std::vector<std::string> samples, layers;  ///< as given to the replay; empty: all
  std::size_t seed = 1;
};

/// A replay of each trace, which saves the retained sets beside the results, in the folder where it is run, and one
/// validation of all.
std::vector<std::string> verification_commands(const VerificationOptions& options);

}  // namespace kvreplay
