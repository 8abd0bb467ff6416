// The CPU backend: OpenBLAS for the dense products, our SIMD kernels for everything that follows a ranking.

#include "core/cpu/cpu_backend.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <mutex>
#include <vector>

#include "core/base/blas.h"
#include "core/base/parallel.h"
#include "core/cpu/panel_kernels.h"
#include "core/cpu/projected_norms.h"
#include "core/cpu/row_kernels.h"

namespace kvreplay {
namespace {

class CpuBackend final : public Backend {
 public:
  CpuBackend() {
    // Threads are ours: a threaded BLAS inside would only fight with them.
    static std::once_flag once;
    std::call_once(once, [] { openblas_set_num_threads(1); });
  }

  std::string_view name() const override { return "cpu"; }

  void weigh(const AttentionRule& rule, const QueryPanels& panels, ConstMatrixView keys, Range key_range,
             PanelWeights& out) override {
    Scratch& scratch = own_scratch();
    out.first_key = key_range.begin;
    out.n_keys = key_range.size();
    out.n_panels = panels.queries.size();
    out.n_queries = panels.positions.size();
    out.weights.reserve_discard(out.n_keys * out.n_panels * kPanelWidth);
    scratch.panels.clear();
    for (const ConstMatrixView& queries : panels.queries) scratch.panels.push_back({queries, panels.positions});
    weigh_tiles(rule, scratch.panels, keys, key_range, out.weights.data(), scratch);
    cpu::scale_tiles(scratch.factors.data(), out.n_keys, out.n_panels * kPanelWidth, out.weights.data());
  }

  void sum_cells(const PanelWeights& weights, Range panels, ConstMatrixView values,
                 std::span<const std::uint32_t> positions, std::span<const std::size_t> cell_ends,
                 PanelSums& out) override {
    Scratch& scratch = own_scratch();
    const std::size_t size = values.cols * kPanelWidth, n_cells = cell_ends.size(), n_panels = panels.size();
    out.n_cells = n_cells;
    out.value_dim = values.cols;
    out.values.reserve_discard(n_panels * n_cells * size);
    out.weights.reserve_discard(n_panels * n_cells * kPanelWidth);
    scratch.block_values.reserve_discard(n_panels * size);
    scratch.block_weights.reserve_discard(n_panels * kPanelWidth);
    const std::size_t weight_stride = weights.n_panels * kPanelWidth;
    // The weights start at first_key while positions count from 0: shift the base, so that one index serves both.
    const float* base = weights.weights.data() + panels.begin * kPanelWidth -
                        static_cast<std::ptrdiff_t>(weights.first_key * weight_stride);
    const cpu::TokenWalk walk{base, weight_stride, n_panels, values.data, values.stride, values.cols};
    const cpu::PanelTarget block{scratch.block_values.data(), size, scratch.block_weights.data(), kPanelWidth};

    for (std::size_t s = 0, begin = 0; s < n_cells; begin = cell_ends[s++]) {
      const cpu::PanelTarget cell{out.values.data() + s * size, n_cells * size, out.weights.data() + s * kPanelWidth,
                                  n_cells * kPanelWidth};
      const auto sum = [&](std::size_t from, const cpu::PanelTarget& to) {
        const std::size_t n = std::min(cpu::kSumBlock, cell_ends[s] - from);
        cpu::sum_tokens(walk, positions.data() + from, n, to);
      };
      sum(begin, cell);
      for (std::size_t from = begin + cpu::kSumBlock; from < cell_ends[s]; from += cpu::kSumBlock) {
        sum(from, block);
        for (std::size_t p = 0; p < n_panels; ++p) {
          float* cell_values = cell.values + p * cell.values_stride;
          float* cell_weights = cell.weights + p * cell.weights_stride;
          cpu::add(cell_values, block.values + p * block.values_stride, size, cell_values);
          cpu::add(cell_weights, block.weights + p * block.weights_stride, kPanelWidth, cell_weights);
        }
      }
    }
  }

  void sum_outer_products(ConstMatrixView left, ConstMatrixView right, std::span<const double> weights,
                          std::span<const std::uint32_t> rows, std::span<const std::size_t> cell_ends, bool with_sides,
                          OuterSums& out) override {
    Scratch& scratch = own_scratch();
    const std::size_t p = left.cols, q = right.cols, n_cells = cell_ends.size();
    const bool symmetric = left.data == right.data && p == q && !with_sides;
    out.products.reserve_discard(n_cells * p * q);
    out.weights.reserve_discard(n_cells);
    std::fill_n(out.weights.data(), n_cells, 0.0);
    if (with_sides) {
      out.left.reserve_discard(n_cells * p);
      out.right.reserve_discard(n_cells * q);
      std::fill_n(out.left.data(), n_cells * p, 0.0);
      std::fill_n(out.right.data(), n_cells * q, 0.0);
    }
    // A block of both sides stays in the second-level cache.
    constexpr std::size_t kRows = 128;
    scratch.left_rows.reserve_discard(kRows * p);
    scratch.right_rows.reserve_discard(kRows * q);
    static const std::array<double, kRows> kOnes = [] {
      std::array<double, kRows> ones;
      ones.fill(1);
      return ones;
    }();
    std::array<double, kRows> block_weights;
    for (std::size_t s = 0, begin = 0; s < n_cells; begin = cell_ends[s++]) {
      double* products = out.products.data() + s * p * q;
      if (begin == cell_ends[s]) std::fill_n(products, p * q, 0.0);
      for (std::size_t at = begin; at < cell_ends[s]; at += kRows) {
        const auto block = rows.subspan(at, std::min(kRows, cell_ends[s] - at));
        const auto n = static_cast<blasint>(block.size());
        for (std::size_t i = 0; i < block.size(); ++i) {
          block_weights[i] = weights.empty() ? 1 : weights[block[i]];
          out.weights[s] += block_weights[i];
          cpu::scale_to_double(left.row(block[i]).data(), p, symmetric ? std::sqrt(block_weights[i]) : block_weights[i],
                               scratch.left_rows.data() + i * p);
          if (!symmetric) cpu::scale_to_double(right.row(block[i]).data(), q, 1, scratch.right_rows.data() + i * q);
        }
        const auto np = static_cast<blasint>(p), nq = static_cast<blasint>(q);
        const double beta = at == begin ? 0 : 1;
        if (symmetric) {
          cblas_dsyrk(CblasRowMajor, CblasUpper, CblasTrans, np, n, 1.0, scratch.left_rows.data(), np, beta, products,
                      np);
          continue;
        }
        cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, np, nq, n, 1.0, scratch.left_rows.data(), np,
                    scratch.right_rows.data(), nq, beta, products, nq);
        if (!with_sides) continue;
        cblas_dgemv(CblasRowMajor, CblasTrans, n, np, 1.0, scratch.left_rows.data(), np, kOnes.data(), 1, 1.0,
                    out.left.data() + s * p, 1);
        cblas_dgemv(CblasRowMajor, CblasTrans, n, nq, 1.0, scratch.right_rows.data(), nq, block_weights.data(), 1, 1.0,
                    out.right.data() + s * q, 1);
      }
      if (symmetric)
        for (std::size_t r = 1; r < p; ++r)
          for (std::size_t c = 0; c < r; ++c) products[r * p + c] = products[c * p + r];
    }
  }

  void errors_at_budgets(const CellPlan& plan, const SumsView& cells, const SumsView& local, std::size_t value_dim,
                         PanelErrors& out) override {
    Scratch& scratch = own_scratch();
    const std::size_t n_budgets = plan.n_budgets(), n_cells = plan.n_cells(), size = value_dim * kPanelWidth;
    out.errors.reserve_discard(n_budgets * size);
    out.squared_errors.reserve_discard(n_budgets * kPanelWidth);
    out.recall.reserve_discard(n_budgets * kPanelWidth);

    const auto measure = [&](std::size_t budget, std::size_t kept_side) {
      cpu::errors_at_budget(scratch.kept.values(kept_side, size), scratch.kept.weights(kept_side),
                            scratch.evicted.values(0, size), scratch.evicted.weights(0), value_dim,
                            out.errors.data() + budget * size, out.squared_errors.data() + budget * kPanelWidth,
                            out.recall.data() + budget * kPanelWidth);
    };
    if (!plan.nested) {
      for (std::size_t b = 0; b < n_budgets; ++b) {
        scratch.kept.set(0, local, size);
        scratch.evicted.set_zero(0, size);
        for (std::size_t c = 0; c < n_cells; ++c)
          (plan.holds(c, b) ? scratch.kept : scratch.evicted).add(0, 0, cells, c, size);
        measure(b, 0);
      }
      return;
    }
    // The kept sides are sums over the first k cells, the evicted ones over the last: one grows, the other is rebuilt
    // on the way back.
    scratch.kept.reserve(n_cells + 1, size);
    scratch.kept.set(0, local, size);
    for (std::size_t k = 1; k <= n_cells; ++k) scratch.kept.add(k, k - 1, cells, k - 1, size);
    scratch.evicted.set_zero(0, size);
    for (std::size_t k = n_cells;; --k) {
      for (std::size_t b = 0; b < n_budgets; ++b) {
        const bool holds_k_cells = (k == 0 || plan.holds(k - 1, b)) && (k == n_cells || !plan.holds(k, b));
        if (holds_k_cells) measure(b, k);
      }
      if (k == 0) break;
      scratch.evicted.add(0, 0, cells, k - 1, size);
    }
  }

  void attention_sums(const AttentionRule& rule, std::span<const std::size_t> positions,
                      std::span<const ColumnTask> tasks) override {
    parallel_for(tasks.size(), [&](std::size_t i) { sum_columns(rule, positions, tasks[i]); });
  }

  void attention_rows(const AttentionRule& rule, std::span<const std::size_t> positions,
                      std::span<const RowTask> tasks) override {
    parallel_for(tasks.size(), [&](std::size_t i) { write_rows(rule, positions, tasks[i]); });
  }

  void projected_norms(ConstMatrixView factor, FactorForm form, MatrixView x, std::span<double> norms) override {
    cpu::projected_norms(factor, form, x, norms);
  }

  std::vector<std::optional<double>> half_log_dets(std::vector<Matrix64> matrices) override {
    std::vector<std::optional<double>> results;
    for (Matrix64& matrix : matrices) results.push_back(half_log_det(std::move(matrix)));
    return results;
  }

  Matrix64 gram(ConstMatrixView rows, std::span<const double> weights) override {
    return kvreplay::gram(rows, weights);
  }

  std::vector<double> quadratic_forms(const Matrix64& matrix, ConstMatrixView rows) override {
    return kvreplay::quadratic_forms(matrix, rows);
  }

  void row_norms(ConstMatrixView rows, Norm norm, std::span<float> out) override {
    kvreplay::row_norms(rows, norm, out);
  }

 private:
  // Queries whose columns are added up in float32 before they go to float64.
  static constexpr std::size_t kQueriesOfSums = 16 * kPanelWidth;
  // Keys of more bytes do not stay in the second-level cache: several panels go over them together.
  static constexpr std::size_t kCachedKeys = 1 << 20;
  static constexpr std::size_t kPanelsOfSums = 4;

  static void sum_columns(const AttentionRule& rule, std::span<const std::size_t> positions, const ColumnTask& task) {
    const auto& [queries, keys, out] = task;
    Scratch& scratch = own_scratch();
    scratch.column_sums.assign(keys.rows, 0.0);
    scratch.columns.reserve_discard(keys.rows * cpu::kColumnLanes);
    std::fill_n(scratch.columns.data(), keys.rows * cpu::kColumnLanes, 0.0f);
    const std::size_t n_panels = keys.rows * keys.cols * sizeof(float) > kCachedKeys ? kPanelsOfSums : 1;
    for (std::size_t begin = 0, end = 0; begin < queries.rows; begin = end) {
      end = std::min(queries.rows, begin + kQueriesOfSums);
      const Range seen{rule.first_visible(positions[begin]), positions[end - 1] + 1};
      for (std::size_t row = begin; row < end; row += n_panels * kPanelWidth) {
        const std::size_t row_end = std::min(end, row + n_panels * kPanelWidth);
        const Range panel_keys{rule.first_visible(positions[row]), positions[row_end - 1] + 1};
        scratch.panels.clear();
        for (std::size_t r = row; r < row_end; r += kPanelWidth)
          scratch.panels.push_back({queries.rows_between(r, std::min(row_end, r + kPanelWidth)),
                                    positions.subspan(r, std::min(row_end - r, kPanelWidth))});
        const std::size_t width = scratch.panels.size() * kPanelWidth;
        scratch.rows.reserve_discard(panel_keys.size() * width);
        weigh_tiles(rule, scratch.panels, keys, panel_keys, scratch.rows.data(), scratch);
        normalize(panel_keys.size(), width, row_end - row, scratch);
        cpu::add_columns(scratch.rows.data(), scratch.factors.data(), panel_keys.size(), width,
                         scratch.columns.data() + (panel_keys.begin - seen.begin) * cpu::kColumnLanes);
      }
      // Summed over blocks in float64: a sink gathers mass from every query, its neighbour nearly none.
      cpu::drain_columns(scratch.columns.data(), seen.size(), scratch.column_sums.data() + seen.begin);
    }
    std::ranges::transform(scratch.column_sums, out.begin(), [](double sum) { return static_cast<float>(sum); });
  }

  static void write_rows(const AttentionRule& rule, std::span<const std::size_t> positions, const RowTask& task) {
    const auto& [queries, keys, out] = task;
    dot_products(rule, queries, keys, out);
    for (std::size_t r = 0; r < queries.rows; ++r) {
      const Range row{rule.first_visible(positions[r]), positions[r] + 1};
      std::ranges::fill(out.row(r).first(row.begin), 0.0f);
      std::ranges::fill(out.row(r).subspan(row.end), 0.0f);
      float* weights = &out(r, row.begin);
      const double sum = cpu::exponentials(weights, row.size(), static_cast<float>(rule.softcap));
      cpu::scale(weights, row.size(), static_cast<float>(1 / sum));
    }
  }

  struct Panel {
    ConstMatrixView queries;
    std::span<const std::size_t> positions;
  };

  // scale * q . k, [queries.rows, keys.rows]
  static void dot_products(const AttentionRule& rule, ConstMatrixView queries, ConstMatrixView keys, MatrixView out) {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, static_cast<blasint>(queries.rows),
                static_cast<blasint>(keys.rows), static_cast<blasint>(keys.cols), static_cast<float>(rule.scale),
                queries.data, static_cast<blasint>(queries.stride), keys.data, static_cast<blasint>(keys.stride), 0.0f,
                out.data, static_cast<blasint>(out.stride));
  }

  // Softmax sums over unions of cells: [n][value_dim, kPanelWidth] and [n][kPanelWidth].
  class Side {
   public:
    void reserve(std::size_t n, std::size_t size) {
      values_.reserve_discard(n * size);
      weights_.reserve_discard(n * kPanelWidth);
    }
    void set(std::size_t to, const SumsView& sums, std::size_t size) {
      reserve(to + 1, size);
      std::copy_n(sums.values, size, values_.data() + to * size);
      std::copy_n(sums.weights, kPanelWidth, weights_.data() + to * kPanelWidth);
    }
    void set_zero(std::size_t to, std::size_t size) {
      reserve(to + 1, size);
      std::fill_n(values_.data() + to * size, size, 0.0f);
      std::fill_n(weights_.data() + to * kPanelWidth, kPanelWidth, 0.0f);
    }
    // this[to] = this[from] + cells[cell]
    void add(std::size_t to, std::size_t from, const SumsView& cells, std::size_t cell, std::size_t size) {
      cpu::add(values_.data() + from * size, cells.values + cell * size, size, values_.data() + to * size);
      cpu::add(weights_.data() + from * kPanelWidth, cells.weights + cell * kPanelWidth, kPanelWidth,
               weights_.data() + to * kPanelWidth);
    }
    const float* values(std::size_t i, std::size_t size) const { return values_.data() + i * size; }
    const float* weights(std::size_t i) const { return weights_.data() + i * kPanelWidth; }

   private:
    Buffer<float> values_, weights_;
  };

  // Kept from call to call: fresh memory costs more than most calls.
  struct Scratch {
    std::vector<Panel> panels;
    Buffer<float> queries, factors, tile_sums;  // of weigh_tiles()
    std::vector<std::int32_t> first, last;
    std::vector<double> inverses;  // of the sums of weights
    Buffer<float> block_values, block_weights;
    Buffer<double> left_rows, right_rows;
    Side kept, evicted;
    Buffer<float> rows, columns;
    std::vector<double> column_sums;
  };
  static Scratch& own_scratch() {
    static thread_local Scratch scratch;
    return scratch;
  }

  // cpu::weigh_tiles() for queries in rows; factors and tile sums are left in the scratch space.
  static void weigh_tiles(const AttentionRule& rule, std::span<const Panel> panels, ConstMatrixView keys,
                          Range key_range, float* weights, Scratch& scratch) {
    const std::size_t dim = keys.cols, n_keys = key_range.size(), width = panels.size() * kPanelWidth;
    const std::size_t n_tiles = (n_keys + cpu::kWeightTile - 1) / cpu::kWeightTile;
    scratch.queries.reserve_discard(dim * width);
    scratch.factors.reserve_discard(n_tiles * width);
    scratch.tile_sums.reserve_discard(n_tiles * width);
    scratch.first.resize(width);
    scratch.last.resize(width);
    const auto key_at = [&](std::size_t position) {
      return static_cast<std::int32_t>(position) - static_cast<std::int32_t>(key_range.begin);
    };
    for (std::size_t p = 0; p < panels.size(); ++p) {
      const auto& [queries, positions] = panels[p];
      const std::size_t n = positions.size();
      // Idle lanes hold queries of zeros, so that nothing downstream meets uninitialised memory.
      for (std::size_t d = 0; d < dim; ++d)
        for (std::size_t l = 0; l < kPanelWidth; ++l)
          scratch.queries[(p * dim + d) * kPanelWidth + l] = l < n ? queries(l, d) : 0.0f;
      for (std::size_t l = 0; l < kPanelWidth; ++l) {
        const std::size_t position = positions[std::min(l, n - 1)];
        scratch.first[p * kPanelWidth + l] = key_at(std::max(rule.first_visible(position), key_range.begin));
        scratch.last[p * kPanelWidth + l] = key_at(std::min(position + 1, key_range.end)) - 1;
      }
    }
    const cpu::PanelProduct product{.keys = keys.data + key_range.begin * keys.stride,
                                    .key_stride = keys.stride,
                                    .n_keys = n_keys,
                                    .dim = dim,
                                    .queries = scratch.queries.data(),
                                    .n_panels = panels.size(),
                                    .scale = static_cast<float>(rule.scale),
                                    .softcap = static_cast<float>(rule.softcap),
                                    .first = scratch.first.data(),
                                    .last = scratch.last.data()};
    cpu::weigh_tiles(product, weights, scratch.factors.data(), scratch.tile_sums.data());
  }

  // Factors that make weights softmax weights; those of idle lanes, the last ones, make them 0.
  static void normalize(std::size_t n_keys, std::size_t width, std::size_t n_queries, Scratch& scratch) {
    const std::size_t n_tiles = (n_keys + cpu::kWeightTile - 1) / cpu::kWeightTile;
    scratch.inverses.assign(width, 0.0);
    for (std::size_t t = 0; t < n_tiles; ++t)
      for (std::size_t l = 0; l < width; ++l)
        scratch.inverses[l] += double{scratch.factors[t * width + l]} * double{scratch.tile_sums[t * width + l]};
    for (std::size_t l = 0; l < width; ++l) scratch.inverses[l] = l < n_queries ? 1 / scratch.inverses[l] : 0;
    for (std::size_t t = 0; t < n_tiles; ++t)
      for (std::size_t l = 0; l < width; ++l) scratch.factors[t * width + l] *= static_cast<float>(scratch.inverses[l]);
  }
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend() { return std::make_unique<CpuBackend>(); }

}  // namespace kvreplay
