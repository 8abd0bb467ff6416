#include "core/evidence/evaluation_weights.h"

#include <algorithm>
#include <numeric>

#include "core/engine/rescue.h"

namespace kvreplay {
namespace {

constexpr double kLeastMass = 0x1p-100;

class PanelReader {
 public:
  PanelReader(const LayerData& layer, Range candidates, std::size_t kv_head, Backend& backend)
      : data_(layer),
        backend_(backend),
        rule_(attention_rule(layer.model, layer.layer)),
        candidates_(candidates),
        kv_head_(kv_head),
        positions_(layer.n_tokens()) {
    std::iota(positions_.begin(), positions_.end(), 0u);
  }

  // Fills lanes [first_lane, first_lane + kPanelWidth) from some recorded queries of a head.
  void read(std::size_t q_head, Range rows, std::size_t first_lane, EvaluationWeights& out) {
    const QueryPanels panel{{data_.queries.matrix(q_head).rows_between(rows.begin, rows.end)},
                            std::span(data_.query_positions).subspan(rows.begin, rows.size())};
    // In a sliding layer too no evaluation query sees more than the candidates and what follows them: candidates_at().
    const Range keys{candidates_.begin, panel.positions.back() + 1};
    backend_.weigh(rule_, panel, data_.keys.matrix(kv_head_), keys, weights_);
    sum(keys, all_);
    sum({candidates_.end, keys.end}, local_);
    for (std::size_t i = 0; i < candidates_.size(); ++i)
      for (std::size_t l = 0; l < rows.size(); ++l)
        out.attention.matrix(0)(i, first_lane + l) = weights_.row(candidates_.begin + i, 0)[l] / all_.weights[l];
    for (std::size_t l = 0; l < rows.size(); ++l) read_sums(panel, l, first_lane + l, out);
  }

 private:
  void sum(Range tokens, PanelSums& sums) {
    const std::size_t n[] = {tokens.size()};
    backend_.sum_cells(weights_, {0, 1}, data_.values.matrix(kv_head_),
                       std::span(positions_).subspan(tokens.begin, n[0]), n, sums);
  }

  void read_sums(const QueryPanels& panel, std::size_t l, std::size_t lane, EvaluationWeights& out) {
    const auto mean = [&](const PanelSums& sums, std::size_t d) {
      return double{sums.values[d * kPanelWidth + l]} / double{sums.weights[l]};
    };
    const double mass = double{local_.weights[l]} / double{all_.weights[l]};
    out.local_mass[lane] = std::max(mass, kLeastMass);
    for (std::size_t d = 0; d < out.outputs.cols; ++d) out.outputs(lane, d) = mean(all_, d);
    if (mass >= kRescueBelow) {
      for (std::size_t d = 0; d < out.outputs.cols; ++d) out.local_outputs(lane, d) = mean(local_, d);
    } else {
      const std::vector<double> exact =
          exact_output(rule_, panel.queries[0].row(l), panel.positions[l], data_.keys.matrix(kv_head_),
                       data_.values.matrix(kv_head_), {}, {candidates_.end, data_.n_tokens()});
      std::ranges::copy(exact, out.local_outputs.row(lane).begin());
    }
  }

  const LayerData& data_;
  Backend& backend_;
  AttentionRule rule_;
  Range candidates_;
  std::size_t kv_head_;
  std::vector<std::uint32_t> positions_;  // 0, 1, 2, ...
  PanelWeights weights_;
  PanelSums all_, local_;
};

}  // namespace

std::size_t n_evaluation_panels(const LayerData& layer, Range candidates) {
  return layer.model.group_size() * ((evaluation_rows(layer, candidates.end).size() + kPanelWidth - 1) / kPanelWidth);
}

EvaluationWeights evaluation_weights(const LayerData& layer, Range candidates, std::size_t kv_head, Range panels,
                                     Backend& backend) {
  const std::size_t group_size = layer.model.group_size(), dim = layer.model.value_dim;
  const std::size_t n_lanes = panels.size() * kPanelWidth;
  const std::size_t panels_per_head = n_evaluation_panels(layer, candidates) / group_size;
  const Range rows = evaluation_rows(layer, candidates.end);
  EvaluationWeights weights{.attention = Tensor(1, candidates.size(), n_lanes),
                            .outputs = Matrix64(n_lanes, dim),
                            .local_outputs = Matrix64(n_lanes, dim),
                            .local_mass = std::vector<double>(n_lanes, 1.0)};
  std::ranges::fill(weights.attention.values(), 0.0f);
  PanelReader reader(layer, candidates, kv_head, backend);
  for (std::size_t panel = panels.begin; panel < panels.end; ++panel) {
    const std::size_t q_head = kv_head * group_size + panel / panels_per_head;
    const std::size_t row = rows.begin + panel % panels_per_head * kPanelWidth;
    reader.read(q_head, {row, std::min(row + kPanelWidth, rows.end)}, (panel - panels.begin) * kPanelWidth, weights);
  }
  return weights;
}

}  // namespace kvreplay
