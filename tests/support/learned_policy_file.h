#pragma once
// Learned policies to test with, and their files.

#include <string>

#include "core/contracts/learned_policy.h"
#include "core/data/trace_info.h"
#include "tests/support/temporary_folder.h"

namespace kvreplay::testing {

/// A policy of this model's shape that covers all layers, without scorer and budgets.
LearnedPolicy learned_policy(const ModelInfo& model);

/// Networks of `n_hidden` with random numbers for every head; mu 0, sd 1.
/// \param n_heads  of all covered layers
HeadNetworks random_networks(std::size_t n_heads, std::size_t n_features, std::size_t n_hidden, std::uint64_t seed = 1);

/// A scorer for `lkv` or `lkv-q` with random networks.
LearnedScorer random_scorer(const ModelInfo& model, const std::string& name, std::uint64_t seed = 1);

/// A policy with such a scorer, in a file. Returns its path.
std::string write_random_scorer(const TemporaryFolder& folder, const ModelInfo& model, const std::string& name);

/// Budgets for all heads of the model: falling random curves from 0.001 to all of the cache.
LearnedBudgets random_budgets(const ModelInfo& model, std::uint64_t seed = 1);

/// A policy with such budgets, in a file. Returns its path.
std::string write_random_budgets(const TemporaryFolder& folder, const ModelInfo& model);

}  // namespace kvreplay::testing
