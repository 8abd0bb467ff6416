#include <cmath>

#include "core/contracts/modifier.h"

namespace kvreplay {
namespace {

Scores age(const PromptView&, Scores scores, const Parameters& parameters) {
  const double half_life = parameters.real("tokens");
  const std::size_t n = scores.n_candidates();
  for (std::size_t h = 0; h < scores.n_heads(); ++h)
    for (std::size_t i = 0; i < n; ++i)
      scores.head(h)[i] *= static_cast<float>(std::exp2(-static_cast<double>(n - i) / half_life));
  return scores;
}

const RegisterModifier half_life{{
    .name = "half-life",
    .summary = "scores fade with the age of a token",
    .formula = "s_i * 2^(-(c - i) / tokens), c: the compression point; for scores that are not negative",
    .paper = "",
    .parameters = {.parameters = {{.name = "tokens",
                                   .kind = ParameterKind::real,
                                   .default_value = "1000",
                                   .help = "age at which a score counts one half",
                                   .min = 1}}},
    .apply = age,
}};

}  // namespace
}  // namespace kvreplay
