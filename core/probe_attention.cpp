#include "core/probe_attention.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace kvreplay {
namespace {

void append(ConstMatrixView rows, Tensor& all, std::size_t& at) {
  for (std::size_t r = 0; r < rows.rows; ++r) std::ranges::copy(rows.row(r), all.matrix(0).row(at++).begin());
}

// largest[i] = max over the probe's rows of the attention to key first_key + i
void largest_attention(Backend& backend, const AttentionRule& rule, ConstMatrixView queries, ConstMatrixView keys,
                       std::size_t first_key, std::span<float> largest) {
  Tensor rows(1, kPanelWidth, keys.rows);
  std::vector<std::size_t> positions;
  for (std::size_t begin = 0; begin < queries.rows; begin += kPanelWidth) {
    const std::size_t end = std::min(begin + kPanelWidth, queries.rows);
    // Row r sees all keys but those of the probe rows behind it.
    positions.clear();
    for (std::size_t r = begin; r < end; ++r) positions.push_back(keys.rows - queries.rows + r);
    const MatrixView out = rows.matrix(0).rows_between(0, end - begin);
    backend.attention_rows(rule, queries.rows_between(begin, end), positions, keys, out);
    for (std::size_t r = 0; r < out.rows; ++r) {
      const float* row = out.row(r).data() + first_key;
      for (std::size_t i = 0; i < largest.size(); ++i) largest[i] = std::max(largest[i], row[i]);
    }
  }
}

}  // namespace

const Tensor& probe_attention(const PromptView& view, std::size_t sinks) {
  return view.remember<Tensor>(fmt::format("attention of probes, {} sinks", sinks), [&] {
    const LayerProbes& probes = view.probes();
    const std::size_t n = view.n_candidates(), first = view.first_position(), group_size = view.model().group_size();
    Tensor attention(1, view.model().n_q_heads, n);
    std::ranges::fill(attention.values(), 0.0f);
    AttentionRule rule = attention_rule(view.model(), view.layer());
    rule.sliding_window = 0;  // distances in the list of keys are not those of positions
    for (const ProbeChunk& chunk : probes.chunks) {
      const auto candidate = [&](std::size_t position) { return std::clamp(position, first, first + n) - first; };
      const Range context{candidate(chunk.context.begin), candidate(chunk.context.end)};
      const std::size_t n_sinks = std::min(sinks, context.begin);
      Tensor keys(1, n_sinks + context.size() + chunk.rows.size(), view.model().head_dim);
      for (std::size_t h = 0; h < attention.rows(); ++h) {
        if (h % group_size == 0) {
          const std::size_t g = h / group_size;
          std::size_t at = 0;
          append(view.keys(g).rows_between(0, n_sinks), keys, at);
          append(view.keys(g).rows_between(context.begin, context.end), keys, at);
          append(probes.keys.matrix(g).rows_between(chunk.rows.begin, chunk.rows.end), keys, at);
        }
        largest_attention(view.backend(), rule, probes.queries.matrix(h).rows_between(chunk.rows.begin, chunk.rows.end),
                          keys.matrix(0), n_sinks, attention.matrix(0).row(h).subspan(context.begin, context.size()));
      }
    }
    return attention;
  });
}

}  // namespace kvreplay
