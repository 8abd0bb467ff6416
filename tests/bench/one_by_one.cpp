#include "tests/bench/one_by_one.h"

#include <cblas.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/contracts/metric.h"

namespace kvreplay::bench {

double output_error_by_itself(const LayerData& data, std::size_t compression_point, const LayerSelection& selection,
                              std::size_t budget, const Tensor& reference, Backend& backend) {
  const std::size_t dim = data.model.head_dim, n_tokens = data.n_tokens(), group = data.model.group_size();
  const auto first_row = static_cast<std::size_t>(std::ranges::lower_bound(data.query_positions, compression_point) -
                                                  data.query_positions.begin());
  const std::size_t n_queries = data.query_positions.size() - first_row;
  double error = 0, norm = 0;
  static Buffer<float> keys, values, outputs;
  static PanelWeights weights;
  for (std::size_t g = 0; g < data.model.n_kv_heads; ++g) {
    std::vector<std::uint32_t> kept;
    const CellPlan& plan = selection.heads[g];
    for (std::size_t c = 0; c < plan.n_cells(); ++c)
      if (plan.holds(c, budget)) kept.insert(kept.end(), plan.cell(c).begin(), plan.cell(c).end());
    const std::size_t n_kept = kept.size();
    for (std::size_t p = compression_point; p < n_tokens; ++p) kept.push_back(static_cast<std::uint32_t>(p));
    const std::size_t n = kept.size();
    keys.reserve_discard(n * dim);
    values.reserve_discard(n * dim);
    for (std::size_t i = 0; i < n; ++i) {
      std::memcpy(keys.data() + i * dim, data.keys.matrix(g).row(kept[i]).data(), dim * sizeof(float));
      std::memcpy(values.data() + i * dim, data.values.matrix(g).row(kept[i]).data(), dim * sizeof(float));
    }
    const std::size_t n_panels = (n_queries + kPanelWidth - 1) / kPanelWidth;
    outputs.reserve_discard(dim * kPanelWidth);
    for (std::size_t h = g * group; h < (g + 1) * group; ++h)
      for (std::size_t panel = 0; panel < n_panels; ++panel) {
        const std::size_t begin = panel * kPanelWidth, count = std::min(kPanelWidth, n_queries - begin);
        // In the gathered cache the evaluation queries stand right behind what is kept.
        std::vector<std::size_t> positions;
        for (std::size_t l = 0; l < count; ++l)
          positions.push_back(n_kept + data.query_positions[first_row + begin + l] - compression_point);
        backend.weigh({.scale = data.model.softmax_scale},
                      {{data.queries.matrix(h).rows_between(first_row + begin, first_row + begin + count)}, positions},
                      {keys.data(), n, dim, dim}, {0, n}, weights);
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, static_cast<blasint>(dim), kPanelWidth,
                    static_cast<blasint>(n), 1.0f, values.data(), static_cast<blasint>(dim), weights.weights.data(),
                    kPanelWidth, 0.0f, outputs.data(), kPanelWidth);
        float total[kPanelWidth] = {};
        for (std::size_t i = 0; i < n; ++i)
          for (std::size_t l = 0; l < kPanelWidth; ++l) total[l] += weights.row(i, 0)[l];
        for (std::size_t l = 0; l < count; ++l)
          for (std::size_t d = 0; d < dim; ++d) {
            const float full = reference.matrix(h)(begin + l, d);
            const float lost = outputs[d * kPanelWidth + l] / total[l] - full;
            error += double{lost} * double{lost};
            norm += double{full} * double{full};
          }
      }
  }
  return std::sqrt(error / norm);
}

}  // namespace kvreplay::bench
