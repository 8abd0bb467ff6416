#pragma once
// What a scorer returns: one number per candidate token and head, higher = keep.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/base/matrix.h"
#include "core/engine/selection.h"

namespace kvreplay {

/// Tokens that are kept before any score counts.
struct Protection {
  std::size_t sinks = 0;    ///< first tokens
  std::size_t recent = 0;   ///< newest tokens
  double recent_share = 0;  ///< of every budget, this share goes to the newest tokens (H2O)
  double first_share = 0;   ///< ... and this share to the first ones

  /// How many first tokens and how many newest ones a budget protects: together at most the budget, first ones first.
  struct Counts {
    std::size_t first = 0, recent = 0;
    std::size_t total() const { return first + recent; }
  };
  Counts at(std::size_t budget) const;
};

struct Scores {
  HeadAxis axis = HeadAxis::kv;
  Tensor values;  ///< [1, n_heads, n_candidates], higher = keep; what is protected may hold anything but NaN
  Protection protection;

  std::size_t n_heads() const { return values.rows(); }
  std::size_t n_candidates() const { return values.cols(); }
  std::span<float> head(std::size_t h) { return values.matrix(0).row(h); }
  std::span<const float> head(std::size_t h) const { return values.matrix(0).row(h); }

  static Scores for_heads(HeadAxis axis, std::size_t n_heads, std::size_t n_candidates) {
    return {.axis = axis, .values = Tensor(1, n_heads, n_candidates), .protection = {}};
  }
};

Scores copy_of(const Scores& scores);

/// Throws InputError naming the first score that is NaN.
void refuse_nan(const Scores& scores);

/// Candidate indices by falling score; equal scores: lower position first. Throws Error when a score is NaN.
std::vector<std::uint32_t> order_by_score(std::span<const float> scores);

/// Numbers without NaN, largest first.
void sort_falling(std::span<float> numbers);

/// The order in which one head gives its budget to tokens: prefixes of it are the retained sets. Protected tokens come
/// first (sinks in ascending order, then the newest backwards); a recent_share interleaves newest and best tokens so
/// that every prefix of k tokens holds floor(recent_share * k) newest ones and the best of the others. With a
/// first_share beside it, two tokens can come due at once; then the newest one follows one place later.
std::vector<std::uint32_t> rank(std::span<const float> scores, const Protection& protection);

}  // namespace kvreplay
