#include "tests/bench/one_by_one.h"

#include <cblas.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/cpu/panel_kernels.h"
#include "core/metric.h"

namespace kvreplay::bench {

double output_error_by_itself(const LayerData& data, std::size_t compression_point, const LayerSelection& selection,
                              std::size_t budget, const Tensor& reference) {
  const std::size_t dim = data.model.head_dim, n_tokens = data.n_tokens(), group = data.model.group_size();
  const auto first_row = static_cast<std::size_t>(std::ranges::lower_bound(data.query_positions, compression_point) -
                                                  data.query_positions.begin());
  const std::size_t n_queries = data.query_positions.size() - first_row, n_local = n_tokens - compression_point;
  double error = 0, norm = 0;
  static thread_local Buffer<float> keys, values, logits, outputs, queries;
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
    // Products as wide as the replay's own panels, so that both meet the same BLAS at the same shape.
    const std::size_t n_panels = (n_queries + kPanelWidth - 1) / kPanelWidth, width = n_panels * kPanelWidth;
    queries.reserve_discard(width * dim);
    logits.reserve_discard(n * kPanelWidth);
    outputs.reserve_discard(dim * kPanelWidth);
    for (std::size_t h = g * group; h < (g + 1) * group; ++h)
      for (std::size_t panel = 0; panel < n_panels; ++panel) {
        const std::size_t begin = panel * kPanelWidth, count = std::min(kPanelWidth, n_queries - begin);
        std::fill_n(queries.data(), kPanelWidth * dim, 0.0f);
        std::int32_t first[kPanelWidth] = {}, last[kPanelWidth];
        for (std::size_t l = 0; l < kPanelWidth; ++l) {
          const std::size_t row = first_row + begin + std::min(l, count - 1);
          if (l < count)
            std::memcpy(queries.data() + l * dim, data.queries.matrix(h).row(row).data(), dim * sizeof(float));
          last[l] =
              static_cast<std::int32_t>(n_kept + std::min(n_local, data.query_positions[row] - compression_point + 1)) -
              1;
        }
        float max[kPanelWidth];
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, static_cast<blasint>(n), kPanelWidth,
                    static_cast<blasint>(dim), static_cast<float>(data.model.softmax_scale), keys.data(),
                    static_cast<blasint>(dim), queries.data(), static_cast<blasint>(dim), 0.0f, logits.data(),
                    kPanelWidth);
        cpu::logits_to_weights(logits.data(), n, first, last, 0.0f, max);
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, static_cast<blasint>(dim), kPanelWidth,
                    static_cast<blasint>(n), 1.0f, values.data(), static_cast<blasint>(dim), logits.data(), kPanelWidth,
                    0.0f, outputs.data(), kPanelWidth);
        float total[kPanelWidth] = {};
        for (std::size_t i = 0; i < n; ++i)
          for (std::size_t l = 0; l < kPanelWidth; ++l) total[l] += logits[i * kPanelWidth + l];
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
