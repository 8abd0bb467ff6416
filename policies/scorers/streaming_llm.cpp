#include "core/contracts/scorer.h"

namespace kvreplay {
namespace {

Scores score_by_position(const PromptView& view, const Parameters& parameters) {
  Scores scores = Scores::for_heads(HeadAxis::kv, view.model().n_kv_heads, view.n_candidates());
  for (std::size_t h = 0; h < scores.n_heads(); ++h)
    for (std::size_t i = 0; i < scores.n_candidates(); ++i) scores.head(h)[i] = static_cast<float>(i);
  scores.protection.sinks = parameters.count("sinks");
  return scores;
}

const RegisterScorer streaming_llm{{
    .name = "streaming-llm",
    .family = "position",
    .summary = "the first tokens (attention sinks) and the newest; tokens keep their positions (no re-rotation)",
    .formula = "s_i = i; the first `sinks` tokens are kept",
    .paper = "Efficient Streaming Language Models with Attention Sinks, arXiv 2309.17453",
    .parameters = {.parameters = {{.name = "sinks", .default_value = "4", .help = "first tokens kept"}},
                   .dialects = {{.name = "kvpress", .summary = "StreamingLLMPress: n_sink = 4"}}},
    .traits = {.layer_wide = true},
    .score = score_by_position,
}};

}  // namespace
}  // namespace kvreplay
