#pragma once
// What a learned scorer knows of a token. The same numbers as tools/python/kvreplay/learning/features.py.

#include <functional>
#include <span>
#include <vector>

#include "core/evidence/prompt_view.h"

namespace kvreplay {

/// Names of the features, with commas: key before RoPE [head_dim], value [value_dim], ln(||k|| + 1e-6),
/// ln(||v|| + 1e-6), ln(1 + i), ln(c - i), i / c for position i and compression point c.
inline constexpr const char* kTokenFeatures = "k_unrot,v,lnk,lnv,ln1pi,ln1pr,frac";
/// The same and ln(a_w + 1e-6) for w = 1, 8, 64: mean attention of the last w prompt queries and the group's heads.
inline constexpr const char* kQueryFeatures = "k_unrot,v,lnk,lnv,ln1pi,ln1pr,frac,lna1,lna8,lna64";
/// How many of the last prompt queries kQueryFeatures look at.
inline constexpr std::size_t kFeatureWindow = 64;

std::size_t n_token_features(std::size_t head_dim, std::size_t value_dim, bool with_queries);

/// Calls use(kv_head, begin, features) for blocks of candidates, in ascending order within a head; `features` is
/// float64 [n, n_token_features()], row by row, of the candidates from `begin` on. Throws InputError when the features
/// want queries that the trace lacks.
void for_each_feature_block(const PromptView& view, bool with_queries,
                            const std::function<void(std::size_t, std::size_t, std::span<const double>)>& use);

}  // namespace kvreplay
