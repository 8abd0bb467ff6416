#include "core/evidence/probe_attention.h"
#include "policies/shared/observation_window.h"

namespace kvreplay {
namespace {

const RegisterScorer kvzip{{
    .name = "kvzip",
    .family = "attention expected",
    .summary = "the most attention that a token gets while the model is asked to repeat the context",
    .formula = "s_i = max over the group and the probe's rows of softmax over [sinks, the chunk's tokens, its probe's "
               "tokens so far]; 0 for tokens in no chunk",
    .paper = "KVzip: Query-Agnostic KV Cache Compression with Context Reconstruction, arXiv 2505.23416",
    .needs = {need::probes()},
    .parameters =
        {.parameters = {{.name = "sinks", .default_value = "4", .help = "first tokens kept, and in every softmax"}},
         .dialects = {{.name = "kvpress", .summary = "KVzipPress: 4 sinks, without the norms of KVzip+"}}},
    .score =
        [](const PromptView& view, const Parameters& parameters) {
          const std::size_t sinks = parameters.count("sinks");
          return Scores{
              .axis = HeadAxis::kv,
              .values = reduce_group(probe_attention(view, sinks), view.model().group_size(), GroupReduction::max),
              .protection = {.sinks = sinks}};
        },
    .cost =
        [](const UnitDimensions& unit, const Parameters&) {
          const double rows = static_cast<double>(unit.n_probe_rows), heads = static_cast<double>(unit.n_q_heads);
          const double keys = static_cast<double>(unit.n_candidates) + rows, dim = static_cast<double>(unit.head_dim);
          return AddedCost{.flops = heads * rows * keys * (2 * dim + 16),
                           .bytes = (keys * (dim + kPanelWidth) + heads * keys) * sizeof(float)};
        },
}};

}  // namespace
}  // namespace kvreplay
