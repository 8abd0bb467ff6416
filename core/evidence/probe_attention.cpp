#include "core/evidence/probe_attention.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace kvreplay {
namespace {

void append(ConstMatrixView rows, MatrixView all, std::size_t& at) {
  for (std::size_t r = 0; r < rows.rows; ++r) std::ranges::copy(rows.row(r), all.row(at++).begin());
}

// The probe rows of one query head, and where the largest attention to each key from `first_key` on goes.
struct ProbeHead {
  ConstMatrixView queries, keys;
  std::span<float> largest;
};

void largest_attention(Backend& backend, const AttentionRule& rule, std::span<const ProbeHead> heads,
                       std::size_t first_key) {
  const std::size_t n_rows = heads[0].queries.rows, n_keys = heads[0].keys.rows;
  Tensor rows(heads.size(), std::min(kPanelWidth, n_rows), n_keys);
  std::vector<std::size_t> positions;
  std::vector<RowTask> tasks;
  for (std::size_t begin = 0; begin < n_rows; begin += kPanelWidth) {
    const std::size_t end = std::min(begin + kPanelWidth, n_rows);
    // Row r sees all keys but those of the probe rows behind it.
    positions.clear();
    for (std::size_t r = begin; r < end; ++r) positions.push_back(n_keys - n_rows + r);
    tasks.clear();
    for (std::size_t h = 0; h < heads.size(); ++h)
      tasks.push_back(
          {heads[h].queries.rows_between(begin, end), heads[h].keys, rows.matrix(h).rows_between(0, end - begin)});
    backend.attention_rows(rule, positions, tasks);
    for (std::size_t h = 0; h < heads.size(); ++h)
      for (std::size_t r = 0; r < end - begin; ++r) {
        const float* row = tasks[h].out.row(r).data() + first_key;
        const std::span<float> largest = heads[h].largest;
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
      Tensor keys(view.model().n_kv_heads, n_sinks + context.size() + chunk.rows.size(), view.model().head_dim);
      for (std::size_t g = 0; g < keys.count(); ++g) {
        std::size_t at = 0;
        append(view.keys(g).rows_between(0, n_sinks), keys.matrix(g), at);
        append(view.keys(g).rows_between(context.begin, context.end), keys.matrix(g), at);
        append(probes.keys.matrix(g).rows_between(chunk.rows.begin, chunk.rows.end), keys.matrix(g), at);
      }
      std::vector<ProbeHead> heads;
      for (std::size_t h = 0; h < attention.rows(); ++h)
        heads.push_back({probes.queries.matrix(h).rows_between(chunk.rows.begin, chunk.rows.end),
                         std::as_const(keys).matrix(h / group_size),
                         attention.matrix(0).row(h).subspan(context.begin, context.size())});
      largest_attention(view.backend(), rule, heads, n_sinks);
    }
    return attention;
  });
}

}  // namespace kvreplay
